"""Learning curves: how many rows, which ones, and in which folds; the sweep itself is run with the jobs."""

from __future__ import annotations

import numpy as np
import pytest

from tests import tiny
from xtlray.errors import RequestError
from xtlray.store import Store
from xtlray.transfer.curve import drawn, sizes
from xtlray.transfer.settings import TransferSettings
from xtlray.transfer.task import Pool, make_pool


@pytest.fixture
def pool(store: Store) -> Pool:
    """Of compositions of which each comes twice, written otherwise."""
    doubled = [text.replace("O", "2O2") if text.endswith("O") else text for text in tiny.FORMULAS]
    return make_pool(tiny.dataset(store, formulas=[*tiny.FORMULAS, *doubled]), tiny.INPUT)


@pytest.mark.parametrize(
    ("fewest", "points", "rows", "expected"),
    [(20, 3, 2000, [20, 200, 2000]), (20, 1, 2000, [2000]), (20, 5, 20, [20]), (20, 6, 12, [12]), (5, 4, 7, [5, 6, 7])],
)
def test_numbers_of_rows_are_evenly_spaced_in_their_logarithm(
    fewest: int, points: int, rows: int, expected: list[int]
) -> None:
    assert sizes(fewest, points, rows) == expected


def test_a_draw_is_of_whole_compositions_in_folds_of_their_own(pool: Pool) -> None:
    part = drawn(pool, 30, 1)
    assert part.target == f"{pool.target}.n30.r1"
    assert 30 <= len(part.y_B) <= 31
    groups = part.composition_B
    assert len(np.unique(np.stack([groups, part.fold_B]), axis=1)[0]) == groups.max() + 1  # each in one fold
    assert part.folds == 10
    assert np.array_equal(part.y_B, drawn(pool, 30, 1).y_B)
    assert not np.array_equal(part.y_B, drawn(pool, 30, 2).y_B)


def test_the_largest_draw_holds_all_rows(pool: Pool) -> None:
    assert len(drawn(pool, len(pool.y_B), 0).y_B) == len(pool.y_B)


def test_a_composition_with_most_of_the_rows_does_not_fill_a_draw(store: Store) -> None:
    """300 polymorphs among 384 rows: a draw of 20 that held them would be of one composition, and of 300 rows."""
    pool = make_pool(tiny.dataset(store, formulas=[*tiny.FORMULAS, *["La3Pb7"] * 300]), tiny.INPUT)
    for seed in range(40):
        part = drawn(pool, 20, seed)
        assert len(part.y_B) == 20
        assert part.folds == 10


def test_a_curve_has_the_keys_of_a_transfer_job_and_its_own() -> None:
    from xtlray.transfer.curve import CurveSettings

    found = CurveSettings.parse({"targets": "a/b", "fewest": 5}, "job.yaml")
    assert isinstance(found, TransferSettings)
    assert (found.fewest, found.points, found.repeats) == (5, 6, 3)
    with pytest.raises(RequestError, match="fewest"):
        CurveSettings.parse({"targets": "a/b", "fewest": 0}, "job.yaml")
