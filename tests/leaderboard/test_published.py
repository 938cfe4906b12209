"""Chosen models beside published figures: chosen by validation, counted once, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.leaderboard.test_compare import TRUTH, predicted
from tests.leaderboard.test_fold import result
from xtlray.leaderboard.published import against_published, chosen
from xtlray.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_validation_chooses_and_fewer_rows_do_not_count_as_lower() -> None:
    rows = [
        result("a/gap", "one", 2.0, test_mae=0.1, rows_val=50),
        result("a/gap", "two", 1.0, test_mae=9.0, rows_val=50),
        result("a/gap", "lucky", 0.1, test_mae=0.1, rows_val=10),
        result("a/none", "one", None, status="failed"),
    ]
    assert [(row.target, row.method) for row in chosen(rows)] == [("a/gap", "two")]


def test_counts_by_hand(store: Store) -> None:
    off = np.ones(len(TRUTH))
    figures = {"ref_best_transfer": 1.5, "ref_best_scratch": 2.0}
    rows = [
        predicted(store, "a/below", "m", off, **figures),
        predicted(store, "a/copy", "m", off, **figures),  # the same rows and values under another name
        predicted(store, "b/between", "m", 1.8 * off, TRUTH + 1, **figures),
        predicted(store, "c/above", "m", 3 * off, TRUTH + 2, **figures),
        predicted(store, "d/unpublished", "m", off, TRUTH + 3, ref_best_transfer=None, ref_best_scratch=None),
        result("e/no_test_rows", "m", 1.0, test_mae=None, rows_test=0, **figures),
    ]
    found = against_published(store, rows)
    assert [row["target"] for row in found["by_target"]] == ["a/below", "b/between", "c/above"]
    counts = [found[name] for name in ("targets", "below_best_transfer", "below_best_scratch", "below_both")]
    assert counts == [3, 1, 2, 1]
    assert found["median_ratio"] == pytest.approx(1.8 / 1.5)


def test_nothing_published_is_no_figure(store: Store) -> None:
    assert against_published(store, [])["median_ratio"] is None
