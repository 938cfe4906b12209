"""Golden answers: what a model said at publication, and what it takes for it to say something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests import tiny
from tests.registry.forging import NET, forgery
from xtlray import provenance
from xtlray.data.inputs import InputEncoder
from xtlray.errors import StoreError
from xtlray.nn.features import Block, Features
from xtlray.nn.members import ConstantMember, HeadMember
from xtlray.nn.packing import WEIGHTS
from xtlray.nn.tensors import pack_tensors, unpack_tensors
from xtlray.records import Golden
from xtlray.registry import golden as module
from xtlray.registry.golden import changes, golden_answers
from xtlray.registry.model import load_model
from xtlray.registry.verifying import verify
from xtlray.registry.versions import ModelRef
from xtlray.store import Store


@pytest.fixture(autouse=True)
def nothing_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_looked_at", set())


def golden_of(ref: ModelRef) -> Golden:
    found = ref.card().golden
    assert found is not None
    return found


def shifted(store: Store, by: float) -> ModelRef:
    """A model whose first member answers otherwise than at publication by that many of the targets' spreads."""
    model = forgery()
    spread = model.card["golden"]["tolerance"][0] / 1e-4
    weights = unpack_tensors(model.files[WEIGHTS], "test")
    scale = model.member[NET]["scaler"]["scale"][0]
    bias = weights[f"m{NET}.output.bias"].float() + by * len(model.member) * spread / scale
    model.files[WEIGHTS] = pack_tensors({**weights, f"m{NET}.output.bias": bias})
    return model.write(store)


# --- at publication --------------------------------------------------------------------------------------------------


def test_the_card_has_what_the_loaded_model_says_for_rows_of_its_dataset(store: Store) -> None:
    data = tiny.dataset(store)
    ref = tiny.model(store, data=data)
    golden = golden_of(ref)
    assert len(set(golden.formulas)) == 5
    assert set(golden.formulas) <= set(data.rows("train").formulas)
    frame = load_model(ref).predict(golden.formulas)
    assert [row[0] for row in golden.values] == pytest.approx(frame["value"].tolist(), rel=1e-12)
    assert (golden.lower, golden.upper) == (None, None)
    assert golden.tolerance == pytest.approx([1e-4 * data.card.target["std"]], rel=0.01)
    assert golden_of(tiny.model(store, run="run-00000002", data=data)) == golden


def test_intervals_and_every_property_are_kept(store: Store) -> None:
    interval = {"level": 0.9, "quantile": 3.0, "floor": 0.5}
    golden = golden_of(tiny.model(store, members=[ConstantMember(1.0), ConstantMember(2.0)], interval=interval))
    assert (golden.values[0], golden.lower, golden.upper) == ([1.5], [[0.0]] * 5, [[3.0]] * 5)
    both = tiny.model(store, "both", data=[tiny.dataset(store), tiny.dataset(store, "other/modulus", unit="GPa")])
    assert [len(row) for row in golden_of(both).values] == [2] * 5
    assert len(golden_of(both).tolerance) == 2


def test_a_dataset_of_what_the_input_cannot_hold_gives_elements(store: Store) -> None:
    data = tiny.dataset(store, formulas=("HeO", "NeO", "LiO"), sides=["train", "train", "test"])
    golden = golden_of(tiny.model(store, members=[ConstantMember(1.0)], data=data))
    assert golden.formulas == ["H", "Li", "Be", "B", "C"]


def test_a_few_rows_give_a_few_formulas(store: Store) -> None:
    formulas = ("LiO", "LiO", "LiO", "Li2O3", "NaO")
    data = tiny.dataset(store, formulas=formulas, sides=["train"] * 4 + ["test"])
    found = golden_of(tiny.model(store, members=[ConstantMember(1.0)], data=data)).formulas
    assert found == sorted(set(data.rows("train").formulas))


def test_a_sensitive_model_is_given_room_and_a_calm_one_is_not(store: Store) -> None:
    """A line of a slope of a hundred million turns the last bits of its input into what anyone would notice."""
    card = tiny.model(store).card()
    features = Features((Block("fractions"),), (), 86)
    formulas = ["LiO", "Fe2O3", "NaCu"]
    found = {}
    for slope in (1.0, 1e5, 1e12):
        line = Ridge().fit(tiny.inputs(9), np.arange(9.0))
        line.coef_ = np.full(86, slope)
        answered = golden_answers(card, [HeadMember(features, line)] * 2, InputEncoder(), formulas, [1.0])
        found[slope] = answered.tolerance[0] - 1e-9 * abs(answered.values[0][0] or 0)
    assert found[1.0] == pytest.approx(1e-4, rel=0.1)
    assert 0.01 < found[1e5] < 0.1001
    assert found[1e12] == pytest.approx(0.1, rel=0.1)


# --- later -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "noticed"), [(0.0, False), (1e-5, False), (1e-3, True), (-0.5, True)])
def test_a_changed_number_is_noticed_and_noise_is_not(store: Store, by: float, noticed: bool) -> None:
    ref = shifted(store, by)
    found = changes(load_model(ref))
    assert len(found) == (5 if noticed else 0)
    if not noticed:
        assert verify(ref)["golden_checked"] == 5
        return
    first = golden_of(ref).formulas[0]
    assert str(found[0]).startswith(f"{first} (user/gap) was {golden_of(ref).values[0][0]:.6g} and is ")
    assert str(found[0]).endswith(" eV")
    with pytest.raises(StoreError, match=rf"otherwise than when it was published.*{first}.* and 2 more"):
        verify(ref)


def test_under_the_same_versions_nothing_is_computed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = tiny.model(store)

    def computed(*_: Any) -> Any:
        raise AssertionError("golden answers were asked for")

    monkeypatch.setattr(module, "changes", computed)
    load_model(ref)


def test_under_other_versions_the_first_load_warns(
    store: Store, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    ref = shifted(store, 0.01)
    monkeypatch.setattr(provenance, "versions", lambda: {**ref.card().versions, "torch": "99.0"})
    model = load_model(ref)
    (said,) = warnings
    (formula, *_), ((value,), *_) = golden_of(ref).formulas, golden_of(ref).values
    assert said.startswith("user/gap@1 answers otherwise than when it was published: ")
    assert f"{formula} (user/gap) was {value:.6g} and is {model.predict(formula).value[0]:.6g} eV" in said
    assert "and 2 more" in said
    assert said.endswith(f"torch {ref.card().versions['torch']}, not 99.0")
    load_model(ref)
    assert len(warnings) == 1


def test_other_versions_that_say_the_same_are_fine(
    store: Store, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    ref = tiny.model(store)
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "99.0"})
    load_model(ref)
    assert warnings == []


def test_a_number_that_is_none_any_more_is_a_change(store: Store) -> None:
    model = forgery()
    model.card["golden"]["formulas"][0] = "HeO"
    (change,) = changes(load_model(model.write(store)))
    assert change.now is None
    assert "and is no number" in str(change)
