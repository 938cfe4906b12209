"""Our models against published figures: on how many targets the error is lower, as published tables count it.

The figures are means of others' tables: there is nothing to test for significance with.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from xtlray.leaderboard.predictions import read_predictions
from xtlray.records import ResultRecord
from xtlray.store import Store


def chosen(results: Iterable[ResultRecord]) -> list[ResultRecord]:
    """The result of each target with the lowest validation error, by target; test errors choose nothing.

    Within a run, errors on fewer rows than others of the target have are not compared with theirs.
    """
    by_run: dict[tuple[str, str], list[ResultRecord]] = {}
    for result in results:
        if result.val_mae is not None and result.status == "ok":
            by_run.setdefault((result.target, result.run), []).append(result)
    best: dict[str, list[ResultRecord]] = {}
    for (target, _), mine in by_run.items():
        most = max(result.rows_val for result in mine)
        best.setdefault(target, []).append(min((r for r in mine if r.rows_val == most), key=_order))
    return [min(best[target], key=_order) for target in sorted(best)]


def _order(result: ResultRecord) -> tuple[float, str, str, str]:
    assert result.val_mae is not None
    return result.val_mae, result.method, result.source or "", result.run


def against_published(store: Store, results: Iterable[ResultRecord]) -> dict[str, Any]:
    """Each target's chosen result beside the published figures.

    Targets whose test rows and values are those of another, as one published file is a copy of another, count once.

    Returns:
        `targets`, `below_best_transfer`, `below_best_scratch`, `below_both`, `median_ratio` (to the lower of the two)
        and `by_target`; counts of targets that have test rows and both figures.

    Raises:
        StoreError: predictions are missing or damaged.
    """
    rows: list[dict[str, Any]] = []
    known: set[str] = set()
    for result in chosen(results):
        transfer, scratch = result.ref_best_transfer, result.ref_best_scratch
        found = read_predictions(store, result)
        if found is None or transfer is None or scratch is None or result.test_mae is None:
            continue
        if found.rows_id in known:
            continue
        known.add(found.rows_id)
        ratio = result.test_mae / min(transfer, scratch)
        rows.append(
            {
                "target": result.target,
                "method": result.method,
                "test_mae": result.test_mae,
                "best_transfer": transfer,
                "best_scratch": scratch,
                "unit": result.unit,
                "ratio": ratio,
            }
        )
    return {
        "targets": len(rows),
        "below_best_transfer": sum(row["test_mae"] < row["best_transfer"] for row in rows),
        "below_best_scratch": sum(row["test_mae"] < row["best_scratch"] for row in rows),
        "below_both": sum(row["ratio"] < 1 for row in rows),
        "median_ratio": median(row["ratio"] for row in rows) if rows else None,
        "by_target": rows,
    }
