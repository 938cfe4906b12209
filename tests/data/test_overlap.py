"""Overlap of test with training rows, and the floor of all models of compositions, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from xtlray.chem.formula import parse
from xtlray.data.overlap import (
    among,
    composition_floor,
    keys_tested_on,
    polymorph_deviation,
    rows_among,
    trained_keys,
)
from xtlray.store import Store


def test_rows_of_a_composition_that_was_trained_on(tmp_path: Path) -> None:
    """`Fe4O6` is `Fe2O3`; what was validated on counts as seen."""
    formulas = ["Fe2O3", "LiO", "NaO", "SiO2", "Fe4O6", "Li2O", "Si2O4", "CuO"]
    data = tiny.dataset(Store.open(str(tmp_path)), formulas=formulas, sides=["train"] * 4 + ["test"] * 4)
    assert data.card.splits["val"] >= 0
    test = data.rows("test")
    seen = dict(zip(test.formulas, among(test.compositions, trained_keys(data)).tolist(), strict=True))
    assert seen == {"Fe4O6": True, "Li2O": False, "Si2O4": True, "CuO": False}


def test_compositions_that_others_test_on(store: Store) -> None:
    """A dataset without test rows adds none."""
    one = tiny.dataset(store, "user/one", ["LiO", "NaO", "FeO", "Si2O4"], sides=["train", "train", "test", "test"])
    none = tiny.dataset(store, "user/none", ["LiO", "NaO"], sides=["train", "train"])
    data = tiny.dataset(store, "user/data", ["Li2O2", "SiO2", "CuO", "PbO"], sides=["train"] * 3 + ["test"])
    assert keys_tested_on([none]) == keys_tested_on([]) == frozenset()
    keys = keys_tested_on([one, none])
    assert len(keys) == 2
    assert rows_among(data, "train", keys) + rows_among(data, "val", keys) == 1  # SiO2
    assert rows_among(data, "test", keys) == 0


def test_the_floor_by_hand() -> None:
    found, _ = parse(["LiO", "Li2O2", "NaO", "SiO2", "Si2O4", "Si3O6"])
    y_B = np.array([1.0, 2.0, 7.0, 10.0, 11.0, 18.0])
    # medians 1.5, 7, 11: deviations 0.5 0.5 | 0 | 1 0 7
    assert composition_floor(found, y_B) == pytest.approx(9 / 6)
    assert polymorph_deviation(found, y_B) == pytest.approx(9 / 5)


def test_no_model_of_compositions_is_below_the_floor() -> None:
    random = np.random.default_rng(0)
    found, _ = parse([tiny.FORMULAS[i] for i in random.integers(0, 20, 200)])
    y_B = random.normal(size=200)
    floor = composition_floor(found, y_B)
    assert floor is not None
    kinds = {key: i for i, key in enumerate(sorted({*map(tuple, tiny.ENCODER.encode(found).tolist())}))}
    which = np.array([kinds[tuple(row)] for row in tiny.ENCODER.encode(found).tolist()])
    for _ in range(20):
        answers = np.array([np.median(y_B[which == kind]) for kind in range(len(kinds))]) + random.normal(
            0, 0.2, len(kinds)
        )
        assert np.abs(y_B - answers[which]).mean() >= floor


def test_without_rows_or_twins_there_is_none() -> None:
    found, _ = parse(["LiO", "NaO"])
    assert composition_floor(found.take([]), np.zeros(0)) is None
    assert composition_floor(found, np.array([1.0, 2.0])) == 0.0
    assert polymorph_deviation(found, np.array([1.0, 2.0])) is None
