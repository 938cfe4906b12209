"""Methods, sources and history, by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.leaderboard.test_compare import TRUTH, predicted
from tests.leaderboard.test_fold import result
from xtlray.errors import StoreError
from xtlray.leaderboard.compare import compare, summary
from xtlray.leaderboard.views import HISTORY, METHODS, SOURCES, history, methods, sources
from xtlray.records import ResultRecord
from xtlray.store import Store

NOISE = np.random.default_rng(5).normal(size=60)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_methods_against_methods(store: Store) -> None:
    rows = [
        predicted(store, "a/one", "good", 0.1 * NOISE),
        predicted(store, "a/one", "bad", NOISE),
        predicted(store, "a/one", "like-bad", 1.02 * NOISE[::-1]),
        predicted(store, "b/two", "good", 0.1 * NOISE, TRUTH + 1),
        predicted(store, "b/two", "bad", NOISE, TRUTH + 1),
        predicted(store, "c/three", "alone", NOISE, TRUTH + 2),
    ]
    found = methods(store, rows)
    assert all(tuple(row) == METHODS for row in found)
    counts = {(row["method"], row["against"]): tuple(row[name] for name in METHODS[2:]) for row in found}
    assert counts == {  # targets, lower, higher, better, worse, no significant difference
        ("good", "bad"): (2, 2, 0, 2, 0, 0),
        ("good", "like-bad"): (1, 1, 0, 1, 0, 0),
        ("bad", "good"): (2, 0, 2, 0, 2, 0),
        ("bad", "like-bad"): (1, 1, 0, 0, 0, 1),
        ("like-bad", "good"): (1, 0, 1, 0, 1, 0),
        ("like-bad", "bad"): (1, 0, 1, 0, 0, 1),
    }
    assert [row["method"] for row in found] == ["good", "good", "bad", "bad", "like-bad", "like-bad"]
    assert methods(store, rows[:1]) == methods(store, []) == []


def test_methods_agree_with_comparing_two(store: Store) -> None:
    """Both ways round, with a copy of a target, and where the test says nothing."""
    other = np.random.default_rng(6).normal(size=60)
    rows = [
        made
        for target, shift in (("a/one", 0), ("a/same", 0), ("b/two", 1), ("c/three", 2))
        for made in (
            predicted(store, target, "x", (0.3 + shift) * NOISE, TRUTH + shift),
            predicted(store, target, "y", other, TRUTH + shift),
        )
    ]
    assert len(methods(store, rows)) == 2
    for row in methods(store, rows):
        expected = summary(compare(store, rows, row["method"], row["against"]))
        assert {name: row[name] for name in expected} == expected
        assert row["targets"] == 3


def test_methods_with_predictions_that_are_missing(store: Store) -> None:
    rows = [predicted(store, "a/one", "x", NOISE), predicted(store, "a/one", "y", NOISE)]
    assert rows[0].predictions is not None
    store.delete([rows[0].predictions])
    with pytest.raises(StoreError, match="missing"):
        methods(store, rows)


def row(target: str, method: str, source: str | None, val: float | None, test: float, **more: Any) -> ResultRecord:
    fields = {"mae_over_base": test / 4, "data_hash": target, "split_id": "s", **more}
    return result(target, method, val, source=source, test_mae=test, **fields)


def test_sources() -> None:
    rows = [
        row("a/one", "sc", None, 1.0, 4.0),
        row("a/one", "tl-1", "m@1", 0.5, 2.0),  # the best by validation
        row("a/one", "tl-2", "m@1", 0.9, 1.0),  # which the better test error does not change
        row("b/two", "sc", None, 0.4, 1.0),
        row("b/two", "tl-1", "m@1", 0.5, 3.0),
        row("b/two", "tl-1", "n@1", None, 0.0, mae_over_base=None),  # failed
        row("b/two-again", "tl-1", "m@1", 0.1, 0.1, data_hash="b/two"),  # the rows of b/two under another name
        row("c/three", "tl-1", "m@1", 0.5, 1.0),  # nothing from scratch
        row("d/four", "sc", None, 0.5, 1.0),
        row("d/four", "tl-1", "m@1", 0.4, 0.9, data_hash="of other rows"),
    ]
    found = sources(rows)
    assert [tuple(each) for each in found] == [SOURCES] * 3
    assert [tuple(each.values()) for each in found] == [
        (None, 1, 3, 3, 0, 1, 0.25, 0, 0, 0),
        ("m@1", 2, 4, 5, 0, 3, (0.25 + 0.5) / 2, 2, 1, 1),
        ("n@1", 1, 1, 1, 1, 0, None, 0, 0, 0),
    ]
    assert sources([]) == []


def dated(*rows: tuple[ResultRecord, int]) -> tuple[list[ResultRecord], dict[Any, datetime]]:
    dates = {(r.run, r.target, r.method, r.source): datetime(2026, 1, day, tzinfo=UTC) for r, day in rows if day}
    return [r for r, _ in rows], dates


def test_history() -> None:
    rows, dates = dated(
        (result("a/gap", "third", 0.5, run="r3", test_mae=0.1), 3),
        (result("a/gap", "first", 1.0, run="r1", test_mae=9.0, model="a/gap@1"), 1),
        (result("a/gap", "also-first", 1.5, run="r1", test_mae=0.1), 1),  # not that run's choice
        (result("a/gap", "worse", 1.2, run="r2", test_mae=0.1), 2),
        (result("a/gap", "equal", 0.5, run="r4"), 4),
        (result("a/gap", "unfinished", 0.1, run="r5"), 0),
        (result("a/gap", "elsewhere", 0.9, run="r6", split_id="other"), 6),
        (result("a/gap", "fewer", 0.8, run="r7", split_id="other", rows_val=0), 7),
        (result("b/gap", "failed", None, run="r1"), 1),
        (result("b/gap", "only", 1.0, run="r2", source="m@1"), 2),
    )
    found = history(rows, dates)
    assert all(tuple(each) == HISTORY for each in found)
    assert [(r["target"], r["when"], r["method"], r["before"], r["reason"]) for r in found] == [
        ("a/gap", "2026-01-01T00:00:00Z", "first", None, "first"),
        ("a/gap", "2026-01-03T00:00:00Z", "third", 1.0, "50.0% lower"),
        ("a/gap", "2026-01-06T00:00:00Z", "elsewhere", None, "other validation rows"),
        ("a/gap", "2026-01-07T00:00:00Z", "fewer", None, "other validation rows"),
        ("b/gap", "2026-01-02T00:00:00Z", "only", None, "first"),
    ]
    assert (found[0]["model"], found[0]["test_mae"], found[-1]["source"]) == ("a/gap@1", 9.0, "m@1")
    assert history(rows[::-1], dates) == found
    assert history(rows, {}) == []
