"""What a model answers, as columns: the very same as row by row, and as its members say."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests import tiny
from xtlray.chem.formula import parse
from xtlray.nn.members import ConstantMember
from xtlray.records import Member
from xtlray.registry.answers import Answers, _round_number
from xtlray.registry.at_scale import ModelAt, parse_column
from xtlray.registry.model import Model, load_model
from xtlray.store import Store

ODD = ["Xx2O", None, "", "HeO", "NaN", "Ca(OH)2", 3.0, "He2", "PoO", "FeCoO3", "LiO"]
FORMULAS = [*ODD, *tiny.FORMULAS, *ODD]


@pytest.fixture
def model(store: Store) -> Model:
    """Two nets."""
    return load_model(tiny.model(store))


def with_interval(model: Model) -> Model:
    """The same with an interval, and with weights and groups that differ."""
    members = [Member(kind="constant", value=1.0, weight=w, group=g) for w, g in ((0.5, 0), (1.5, 1), (1.0, 1))]
    card = model.card.model_copy(update={"members": members, "interval": {"level": 0.9, "quantile": 2.0, "floor": 0.5}})
    return replace(model, card=card, members=[*model.members, ConstantMember(4.0)])


@pytest.mark.parametrize("interval", [False, True])
def test_columns_frames_and_rows_say_the_same(model: Model, interval: bool) -> None:
    model = with_interval(model) if interval else model
    found = model.answers(*parse(FORMULAS))
    rows = model.predictions(FORMULAS)
    expected = [(row.value, row.spread, row.lower, row.upper, row.warning) for row in rows]
    assert list(found.rows()) == expected
    columns = found.columns()
    cells = [columns[name].to_pylist() for name in ("value", "spread", "lower", "upper", "warning")]
    assert list(zip(*cells, strict=True)) == expected
    assert columns["unit"].to_pylist() == ["eV"] * len(FORMULAS) == [row.unit for row in rows]
    frame = model.predict(FORMULAS)
    for name in ("value", "spread", "lower", "upper"):
        assert [None if np.isnan(x) else x for x in frame[name]] == [getattr(row, name) for row in rows]
    assert frame["formula"].tolist() == [row.formula for row in rows] == list(map(str, FORMULAS))
    assert frame["warning"].tolist() == [row.warning for row in rows]
    assert all((row.lower is not None) == (interval and row.value is not None) for row in rows)


def test_values_are_those_of_the_members(model: Model) -> None:
    good = parse(list(tiny.FORMULAS))[0]
    x_BF = model.encoder.encode(good)
    mean_B = np.mean([member.predict(x_BF) for member in model.members], axis=0)
    found = model.answers(*parse(FORMULAS))
    np.testing.assert_allclose(found.value_B[len(ODD) : -len(ODD)], mean_B, rtol=1e-5)
    assert np.array_equal(found.answered_B, ~np.isnan(found.value_B))


def test_an_answer_does_not_hang_on_the_others(model: Model) -> None:
    """However the rows are put together for the net."""
    apart = [model.predictions([formula])[0] for formula in FORMULAS]
    together = model.predictions(FORMULAS)
    for one, other in zip(apart, together, strict=True):
        assert (one.formula, one.warning) == (other.formula, other.warning)
        assert one.value == (None if other.value is None else pytest.approx(other.value, rel=1e-6))


def test_many_rows_are_answered_as_few_are(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of rows alike, filled up to a round number: so that a net meets few shapes."""
    model = with_interval(model)
    few = model.answers(*parse(FORMULAS))
    shapes = []

    class Noting(ConstantMember):
        def predict_all(self, x_BF: np.ndarray) -> np.ndarray:
            counts = set((x_BF > 0).sum(axis=1).tolist())
            assert len(counts) == 1
            shapes.append((len(x_BF), *counts))
            return super().predict_all(x_BF)

    monkeypatch.setattr("xtlray.registry.answers._FEW", 5)
    monkeypatch.setattr("xtlray.registry.answers._ROWS_AT_ONCE", 50)
    many = replace(model, members=[*model.members[:2], Noting(4.0)]).answers(*parse(FORMULAS))
    for name in ("value_B", "spread_B", "lower_B", "upper_B"):
        np.testing.assert_allclose(getattr(many, name), getattr(few, name), rtol=1e-6)
    assert list(many.rows())[len(ODD) - 2][-1] == list(few.rows())[len(ODD) - 2][-1]
    assert {rows for rows, _ in shapes} <= {1, 2, 4, 8, 16, 32, 64}
    assert sum(rows for rows, _ in shapes) >= int(few.answered_B.sum())


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, 1), (2, 2), (3, 4), (200, 256), (256, 256), (257, 512), (2048, 2048), (2049, 2304)]
)
def test_round_numbers(rows: int, expected: int) -> None:
    assert _round_number(rows) == expected


def test_warnings_by_hand(model: Model) -> None:
    found = model.answers(*parse(["LiO", "HeO", "NaN", "NNe", "Xx", "TiN", "HeNe"]))
    texts = [None if code < 0 else found.warnings[code] for code in found.warning_B]
    assert texts == [
        None,
        "the model's input cannot hold He",
        "no training row held N",
        "the model's input cannot hold Ne",
        "Xx is not an element (nearest: Xe)",
        "no training row held N, Ti",
        "the model's input cannot hold He, Ne",
    ]
    assert len(set(found.warnings)) == len(found.warnings)


def test_no_rows(model: Model) -> None:
    found = model.answers(*parse([]))
    assert (len(found), list(found.rows())) == (0, [])
    assert {name: str(column.type) for name, column in found.columns().items()} == {
        **dict.fromkeys(("value", "spread", "lower", "upper"), "double"),
        **dict.fromkeys(("unit", "warning"), "string"),
    }


def test_a_unit_that_is_not_known() -> None:
    nothing = np.zeros(0)
    found = Answers(None, nothing.astype(bool), nothing, nothing, None, nothing.astype(np.int32), ())
    assert found.columns()["unit"].type == pa.string()


def test_a_model_that_has_answered_can_travel(model: Model) -> None:
    before = model.predictions(["LiO"])
    assert pickle.loads(pickle.dumps(model)).predictions(["LiO"]) == before


@pytest.mark.parametrize("sliced", [False, True])
def test_columns_of_text_are_parsed_as_lists_are(sliced: bool) -> None:
    texts = [text if isinstance(text, str) else None for text in [*FORMULAS, "Fe₂O₃", "é"]]
    column = pa.array(texts)
    if sliced:
        texts, column = texts[3:-2], column[3:-2]
    for given in (column, column.drop_null()):
        found, reasons = parse_column(given)
        expected, why = parse(given.to_pylist())
        assert (found.offsets.tolist(), found.z.tolist(), reasons) == (
            expected.offsets.tolist(),
            expected.z.tolist(),
            why,
        )
        assert np.array_equal(found.fraction, expected.fraction)
    assert len(parse_column(pa.array([], pa.string()))[0]) == 0
    assert parse_column(pa.nulls(2, pa.string()))[1] == {0: "formula missing", 1: "formula missing"}


def test_a_model_elsewhere(store: Store) -> None:
    ref = tiny.model(store, "both", data=[tiny.dataset(store), tiny.dataset(store, "other/modulus", unit="GPa")])
    answer = pickle.loads(pickle.dumps(ModelAt(ref, "other/modulus")))()
    found = answer(pa.array(["LiO", "Xx"]))
    (row, _) = load_model(ref).predictions(["LiO", "Xx"], "modulus")
    assert found["value"].to_pylist() == [row.value, None]
    assert found["unit"].to_pylist() == ["GPa", "GPa"]
