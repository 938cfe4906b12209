"""Odd models that there is nothing wrong with: they load, predict and verify."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.ensemble import AdaBoostRegressor, BaggingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import Lasso, Ridge, SGDRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from tests import tiny
from tests.registry.forging import CONSTANT, HEAD, NET, Forgery, forgery, with_head
from xtlray.nn.members import ConstantMember, NetMember
from xtlray.nn.nets import build_net
from xtlray.nn.packing import WEIGHTS
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import pack_tensors, read_shapes, unpack_tensors, with_prefix
from xtlray.records import SplitMetrics
from xtlray.registry.model import load_model
from xtlray.registry.verifying import NOT_SEALED, verify
from xtlray.registry.versions import ModelRef
from xtlray.store import Store, builtin

Forge = Callable[[Forgery], Any]


def says(**fields: Any) -> Forge:
    return lambda model: model.card.update(fields)


def old(schema: int, *since: str) -> Forge:
    """A card as it was written then: without what came since, and without a seal."""
    later = ("sizes", "golden", "nets", "descriptors", "environment", "intended_use", *since)

    def forge(model: Forgery) -> None:
        model.honest, model.sealed = False, False
        model.card["schema_version"] = schema
        for name in later:
            model.card.pop(name)
        for member in model.member:
            del member["group"], member["weight"]

    return forge


def as_of_the_first_schema(model: Forgery) -> None:
    """A net, a head on a layer of a net of its own, a constant: no blocks, no sources, no properties."""
    old(1, "properties", "interval")(model)
    source = unpack_tensors(model.files.pop(model.source), "test")
    weights = unpack_tensors(model.files[WEIGHTS], "test")
    net = {name: weight for name, weight in weights.items() if name.startswith(f"m{NET}.")}
    model.files[WEIGHTS] = pack_tensors({**net, **with_prefix(f"m{HEAD}", source)})
    described = model.member[HEAD]["sources"][0]
    head = {"net": described["net"], "scaler": described["scaler"], "prefix": f"m{HEAD}", "layer": 1}
    model.card["members"] = [
        {key: model.member[NET][key] for key in ("kind", "net", "prefix", "scaler")},
        {"kind": "head", "head": f"m{HEAD}.skops", **head},
        {"kind": "constant", "value": 3.0},
    ]
    with_head(Ridge(), columns=8)(model)
    rehash(model)


def rehash(model: Forgery) -> None:
    """Hashes as they are now; sizes are not on an old card."""
    model.card["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in model.files.items()}


def only(*places: int) -> Forge:
    """The model has these of its members."""

    def forge(model: Forgery) -> None:
        model.card["golden"] = None
        kept = [model.member[place] for place in places]
        heads = {member["head"] for member in kept}
        model.card["members"] = kept
        prefixes = tuple(f"{member['prefix']}." for member in kept if member["prefix"])
        weights = unpack_tensors(model.files.pop(WEIGHTS), "test")
        held = {name: weight for name, weight in weights.items() if name.startswith(prefixes)}
        model.files = {name: data for name, data in model.files.items() if name in heads or name == model.source}
        model.files |= {WEIGHTS: pack_tensors(held)} if held else {}

    return forge


def both(*forges: Forge) -> Forge:
    def forge(model: Forgery) -> None:
        for each in forges:
            each(model)

    return forge


NO_GOLDEN = says(golden=None)
ODD: dict[str, Forge] = {
    "as it was published": lambda model: None,
    "one member": only(NET),
    "a head alone": only(HEAD),
    "a constant alone": only(CONSTANT),
    "a label of every script": says(label="Lücke · ギャップ · пробел · 𝔾 · é"),
    "lines and tabs": says(limits="one line\n\tand another"),
    "no test rows": says(metrics={"val": {"rows": 9, "mae": 0.5}}),
    "no metrics at all": says(metrics={}),
    "no history": says(history=[]),
    "a long history": says(history=[{"epoch": k, "loss": 0.1} for k in range(5000)]),
    "no golden answers": NO_GOLDEN,
    "no unit": says(unit=None),
    "weights for a mean": both(NO_GOLDEN, lambda model: [each.update(weight=0.25) for each in model.member]),
    "an interval": both(NO_GOLDEN, says(interval={"level": 0.9, "quantile": 1.0, "floor": 0.1})),
    "a file that nobody reads": lambda model: model.files.update({"NOTES.txt": b"read me"}),
    "something beside it": lambda model: model.extra.update({"stray.bin": b"of an interrupted run"}),
    "a head of SVR": both(NO_GOLDEN, with_head(make_pipeline(StandardScaler(), SVR(kernel="poly")))),
    "a head of neighbours": both(NO_GOLDEN, with_head(KNeighborsRegressor(p=3, algorithm="brute"))),
    "a head of boosted quantiles": both(
        NO_GOLDEN, with_head(HistGradientBoostingRegressor(loss="quantile", quantile=0.3, max_iter=3))
    ),
    "a head of a boosted Poisson": both(
        NO_GOLDEN, with_head(HistGradientBoostingRegressor(loss="poisson", max_iter=3))
    ),
    "a head of bagged SVR": both(NO_GOLDEN, with_head(BaggingRegressor(SVR(), 3))),
    "a head of boosted lines": both(NO_GOLDEN, with_head(AdaBoostRegressor(Lasso(0.01), n_estimators=3))),
    "a head of one leaf": both(NO_GOLDEN, with_head(DecisionTreeRegressor(max_leaf_nodes=2, min_samples_leaf=14))),
    "a head of SGD without a mean": both(
        NO_GOLDEN, with_head(make_pipeline(StandardScaler(with_mean=False), SGDRegressor()))
    ),
    "a card of schema 4": both(old(4), rehash),
    "a card of schema 3": both(old(3, "interval"), rehash),
    "a card of schema 2": both(only(NET, CONSTANT), old(2, "interval"), rehash),
    "a card of schema 1": as_of_the_first_schema,
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_model_loads_predicts_and_verifies(store: Store, name: str) -> None:
    model = forgery()
    ODD[name](model)
    ref = model.write(store)
    frame = load_model(ref).predict(["LiO", "Fe2O3", "HeO"])
    assert frame["value"].notna().tolist() == [True, True, False]
    found = verify(ref)
    assert found["status"] == "ok"
    assert found["problem"] == (None if model.sealed else NOT_SEALED)


def test_a_large_net_is_not_too_large(store: Store) -> None:
    spec = {"name": "elemnet", "hidden": [2048, 512, *[4] * 60]}
    member = NetMember(spec, build_net(spec, 86, 1, seed=0).eval(), TargetScaler((1.0,), (2.0,)))
    ref = tiny.model(store, members=[member])
    assert verify(ref)["status"] == "ok"
    assert ref.card().sizes[WEIGHTS] > 2_000_000


def test_four_hundred_members(store: Store) -> None:
    ref = tiny.model(store, members=[ConstantMember(float(k)) for k in range(400)])
    assert load_model(ref).predict("LiO").value[0] == pytest.approx(199.5)


def test_three_properties(store: Store) -> None:
    data = [tiny.dataset(store, f"user/p{k}", unit=unit) for k, unit in enumerate(("eV", None, "GPa"))]
    ref = tiny.model(store, "user/many", data=data)
    model = load_model(ref)
    assert [model.predict("LiO", name)["unit"][0] for name in model.properties] == ["eV", None, "GPa"]
    assert verify(ref)["golden_checked"] == 15


def test_a_model_without_test_rows(store: Store) -> None:
    ref = tiny.model(store, metrics={"val": SplitMetrics(rows=0, mae=None)})
    assert verify(ref)["status"] == "ok"


def test_a_tensor_of_nothing_is_a_tensor() -> None:
    """Of no rows: its place in the file begins where it ends."""
    data = pack_tensors({"a": torch.zeros(0, 3), "b": torch.zeros(2), "c": torch.zeros(0)})
    assert read_shapes(data, "here") == {"a": (0, 3), "b": (2,), "c": (0,)}


def test_the_models_of_the_package_are_odd_in_nothing() -> None:
    found = verify(ModelRef(builtin(), "builtin/oqmd", 1))
    assert (found["status"], found["problem"]) == ("ok", None)
