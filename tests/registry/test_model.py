"""A published model: every byte checked, predictions in physical units, cards that tell, and the library around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import xtlray
from tests import tiny
from xtlray.data.inputs import InputEncoder
from xtlray.errors import MissingKeyError, RequestError, StoreError
from xtlray.nn.features import Block, Features
from xtlray.nn.members import ConstantMember, HeadMember
from xtlray.records import Member
from xtlray.registry.cards import elements_seen
from xtlray.registry.library import describe, list_models
from xtlray.registry.model import Model, load_model, source_net
from xtlray.registry.promotion import move_best
from xtlray.registry.verifying import verify
from xtlray.registry.versions import ModelRef, versions_of
from xtlray.store import Store


def head() -> HeadMember:
    body = tiny.net_member(3)
    return HeadMember(
        Features((Block("activations", 1),), (body,), 86),
        Ridge().fit(body.features(tiny.inputs(20), 1), np.arange(20.0)),
    )


def rewrite(store: Store, key: str, data: bytes) -> None:
    store.delete([key])
    store.create(key, data)


@pytest.fixture
def ref(store: Store) -> ModelRef:
    """Two nets, published."""
    return tiny.model(store)


@pytest.fixture
def model(ref: ModelRef) -> Model:
    return load_model(ref)


# --- loading ---------------------------------------------------------------------------------------------------------


def test_a_loaded_model_predicts_as_its_members_do(model: Model) -> None:
    frame = model.predict(["LiO", "Fe2O3", "LiO"])
    x_BF = np.zeros((3, 86), np.float32)
    place = tiny.ENCODER.elements.index
    x_BF[[0, 2], place("Li")] = x_BF[[0, 2], place("O")] = 0.5
    x_BF[1, place("Fe")], x_BF[1, place("O")] = 0.4, 0.6
    each = np.stack([tiny.net_member(1).predict(x_BF), tiny.net_member(2).predict(x_BF)])
    assert frame["value"].to_numpy() == pytest.approx(each.mean(axis=0), abs=1e-6)
    assert frame["spread"].to_numpy() == pytest.approx(each.std(axis=0), abs=1e-6)
    assert list(frame.columns) == ["formula", "value", "unit", "spread", "lower", "upper", "warning"]
    assert frame["formula"].tolist() == ["LiO", "Fe2O3", "LiO"]
    assert frame["unit"].tolist() == ["eV"] * 3
    assert frame["warning"].tolist() == [None] * 3


def test_every_flipped_byte_is_refused(store: Store) -> None:
    ref = tiny.model(store, members=[tiny.net_member(), head()])
    files = ref.card().files
    (source,) = (name for name in files if name.startswith("source-"))
    assert set(files) == {"weights.safetensors", "m1.skops", source}
    for name in files:
        key = f"{ref.folder}/{name}"
        good = store.get(key)
        for place in (0, len(good) // 2, len(good) - 1):
            rewrite(store, key, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(StoreError, match=f"not the one that was published.*{name}"):
                load_model(ref)
        rewrite(store, key, good[:-1])
        with pytest.raises(StoreError, match="not the one that was published"):
            load_model(ref)
        store.delete([key])
        with pytest.raises(MissingKeyError, match=name):
            load_model(ref)
        store.create(key, good)
    load_model(ref)


def test_xtlray_load(store: Store, ref: ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTLRAY_STORE", str(store.local_path))
    move_best(store, ref, 0.5, "s", "p")
    for found in (xtlray.load("user/gap@best"), xtlray.load("user/gap", store), xtlray.load("user/gap@1", store.url)):
        assert found.ref.version == 1
    with pytest.raises(RequestError, match="user/gap"):
        xtlray.load("user/gop")
    with pytest.raises(AttributeError, match="nothing"):
        xtlray.nothing  # noqa: B018


# --- predicting ------------------------------------------------------------------------------------------------------


def test_members_have_weights_and_intervals_hang_on_what_groups_say(model: Model) -> None:
    """Groups of weight 1/2 say 2 and 9: 5.5 ± 3.5 between them."""
    parts = [(1.0, 0.5, 0), (3.0, 0.5, 0), (9.0, 1.0, 1)]  # answer, weight, group
    records = [Member(kind="constant", value=value, weight=w, group=group) for value, w, group in parts]
    card = model.card.model_copy(update={"members": records, "interval": {"level": 0.9, "quantile": 2.0, "floor": 0.5}})
    weighted = replace(model, card=card, members=[ConstantMember(value) for value, _, _ in parts])
    (row,) = weighted.predictions(["LiO"])
    assert (row.value, row.lower, row.upper) == pytest.approx((5.5, 5.5 - 8, 5.5 + 8))
    assert row.spread == pytest.approx(12.75**0.5)
    unheld = weighted.predict(["LiO", "HeO"]).iloc[1]
    assert unheld[["value", "spread", "lower", "upper"]].isna().all()


def test_an_interval_survives_publication(store: Store) -> None:
    interval = {"level": 0.9, "quantile": 3.0, "floor": 0.5}
    ref = tiny.model(store, members=[ConstantMember(1.0), ConstantMember(2.0)], interval=interval)
    (row,) = load_model(ref).predictions(["LiO"])
    assert (row.value, row.lower, row.upper) == (1.5, 0.0, 3.0)  # members of one group: apart by chance alone
    (row,) = load_model(tiny.model(store, run="tiny-00000001")).predictions(["LiO"])
    assert (row.lower, row.upper) == (None, None)


def test_one_formula_and_none(model: Model) -> None:
    assert model.predict("LiO")["value"].notna().tolist() == [True]
    empty = model.predict([])
    assert len(empty) == 0
    assert list(empty.columns) == ["formula", "value", "unit", "spread", "lower", "upper", "warning"]
    assert str(empty["value"].dtype) == "float64"


def test_formulas_that_cannot_be_answered_say_why(model: Model) -> None:
    frame = model.predict(["Xx2O", "LiO", "", "HeO", "NaN"])
    assert frame["value"].notna().tolist() == [False, True, False, False, True]
    assert frame["spread"].notna().tolist() == [False, True, False, False, True]
    warnings = frame["warning"].tolist()
    assert "Xx is not an element" in warnings[0]
    assert "empty" in warnings[2]
    assert "cannot hold He" in warnings[3]
    assert warnings[4] == "no training row held N"  # sodium nitride, and nitrogen was never seen
    assert frame["formula"].tolist() == ["Xx2O", "LiO", "", "HeO", "NaN"]


def test_what_is_no_text_is_no_formula(model: Model) -> None:
    rows = model.predictions([None, 3.0, "LiO"])
    assert [row.value is None for row in rows] == [True, True, False]
    assert all(row.warning for row in rows[:2])


def test_unseen_elements_are_warned_about(store: Store) -> None:
    data = tiny.dataset(store, formulas=("LiO", "LiO2", "NaO", "HeO", "FeO"), sides=["train"] * 4 + ["test"])
    rows, seen = elements_seen(data, tiny.ENCODER)
    assert rows == data.card.splits["train"] - sum("He" in text for text in data.rows("train").formulas)
    assert "Fe" not in seen  # of a test row only
    assert "He" not in seen  # of a row that the input cannot hold
    assert seen["O"] == sum(seen[symbol] for symbol in ("Li", "Na") if symbol in seen)
    model = load_model(tiny.model(store, data=data))
    assert model.predict("Fe2Cu")["warning"].tolist() == ["no training row held Fe, Cu"]


def test_a_unit_that_is_not_known(store: Store) -> None:
    model = load_model(tiny.model(store, data=tiny.dataset(store, unit=None)))
    assert model.predict("LiO")["unit"].tolist() == [None]


def test_the_net_to_carry_over(store: Store, model: Model) -> None:
    assert np.array_equal(model.net.predict(tiny.inputs(3)), tiny.net_member(1).predict(tiny.inputs(3)))
    other = load_model(tiny.model(store, "user/head", members=[ConstantMember(1.0), head()]))
    with pytest.raises(StoreError, match=r"no net to carry over.*user/head@1"):
        _ = other.net


# --- the library -----------------------------------------------------------------------------------------------------


def test_a_card_tells_where_a_model_comes_from(store: Store, ref: ModelRef) -> None:
    source = ref.card()
    card = tiny.model(store, "user/carried", "run-00000002", source=source).card()
    assert card.source_model == "user/gap@1"
    assert [step.get("model") or step["dataset"] for step in card.lineage] == ["user/gap", "user/gap@1", "user/gap"]
    assert (card.property, card.unit, card.label, card.run) == ("user/gap", "eV", "Gap", "run-00000002")
    assert sum(card.dataset["splits"].values()) == len(tiny.FORMULAS)
    assert len(card.elements_encoded) == 86
    assert set(card.elements_seen) == set(tiny.ELEMENTS)
    assert card.limits
    assert card.versions["torch"]


def test_the_listing(store: Store, ref: ModelRef) -> None:
    tiny.model(store, run="run-00000002", members=[ConstantMember(1.0)], metrics={"val": ref.card().metrics["val"]})
    move_best(store, ref, 0.5, "s", "p")
    rows = [row for row in list_models(store) if not row["model"].startswith("builtin/")]
    assert [(row["model"], row["aliases"]) for row in rows] == [("user/gap@1", ["best"]), ("user/gap@2", [])]
    assert [(row["members"], row["val_mae"], row["test_mae"]) for row in rows] == [(2, 0.5, 0.6), (1, 0.5, None)]
    shown: dict[str, Any] = describe(ref)
    assert shown["aliases"]["best"][0]["reason"] == "first"
    assert shown["name"] == "user/gap"


def test_verifying(store: Store, ref: ModelRef) -> None:
    assert verify(ref) == {
        "model": "user/gap@1",
        "status": "ok",
        "files": 1,
        "predictions_checked": 8,
        "golden_checked": 5,
        "problem": None,
    }
    rewrite(store, f"{ref.folder}/weights.safetensors", b"other")
    with pytest.raises(StoreError, match="not the one that was published"):
        verify(ref)


def test_a_model_that_answers_no_numbers_is_found_out(store: Store) -> None:
    member = tiny.net_member()
    for layer in (*member.net.hidden, member.net.output):
        layer.weight.data[:] = 1e30
    ref = tiny.model(store, members=[member])
    golden = ref.card().golden
    assert golden is not None
    assert golden.values == [[None]] * 5
    with pytest.raises(StoreError, match=r"does not answer with a number.*user/gap@1: Li, O"):
        verify(ref)


def test_a_member_that_cannot_answer_is_an_error_in_words(model: Model) -> None:
    """scikit-learn refuses columns that are infinite, as those of weights at the end of all numbers are."""
    body = tiny.net_member(3)
    features = Features((Block("activations", 2),), (body,), 86)
    regressor = Ridge().fit(features.of(tiny.inputs(20)), np.arange(20.0))
    for layer in body.net.hidden:
        layer.weight.data[:] = 1e30
    beyond = replace(model, members=[HeadMember(features, regressor)] * 2)
    with pytest.raises(StoreError, match=r"cannot answer.*user/gap@1: Input X contains"):
        beyond.predict("LiO")


def test_what_answers_no_numbers_at_all_is_not_published(store: Store) -> None:
    member = tiny.net_member()
    member.net.output.bias.data[:] = float("nan")
    with pytest.raises(StoreError, match=r"not finite.*user/gap@1/weights.safetensors: m0.output.bias"):
        tiny.model(store, members=[member])
    assert versions_of(store, "user/gap") == []


# --- what members read -----------------------------------------------------------------------------------------------


def test_a_model_that_reads_physical_attributes_is_given_them(store: Store) -> None:
    features = Features((Block("fractions"), Block("attributes")), (), 86)
    wide = InputEncoder(tiny.ENCODER, attributes=True)
    x_BX = wide.encode(tiny.parsed(tiny.FORMULAS))
    member = HeadMember(features, Ridge().fit(features.of(x_BX), np.arange(len(x_BX), dtype=float)))
    model = load_model(tiny.model(store, members=[member]))
    assert model.card.input == "elemental_fractions+physical_attributes"
    expected = member.predict(wide.encode(tiny.parsed(["LiO", "Fe2O3"])))
    assert model.predict(["LiO", "HeO", "Fe2O3"])["value"].dropna().tolist() == expected.tolist()


def test_a_source_of_other_elements_is_refused(model: Model) -> None:
    assert source_net(model).spec == tiny.NET
    fewer = replace(model, card=model.card.model_copy(update={"elements_encoded": ["Li", "O"]}))
    with pytest.raises(RequestError, match=r"other elements.*user/gap@1: 2 elements.*the 86 of ElemNet"):
        source_net(fewer)
