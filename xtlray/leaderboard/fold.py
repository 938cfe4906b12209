"""Results → leaderboard rows."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from xtlray import catalog
from xtlray.errors import UnknownNameError, nearest
from xtlray.leaderboard.entries import as_results, read_entries
from xtlray.records import ResultRecord
from xtlray.store import Store

COLUMNS = (
    "target", "unit", "method", "source", "seeds", "rows_train", "rows_val", "rows_test", "val_mae", "test_mae",
    "test_mae_spread", "base_mae", "ref_best_transfer", "ref_best_scratch", "model", "run", "status", "error",
    "seconds", "commit", "split_id", "input", "source_hash", "test_rmse", "test_r2", "mae_over_base", "rows_test_new",
    "test_mae_new_compositions", "floor_mae", "polymorph_mad", "rows_test_pretrained", "trials_run", "rows_per_s",
    "hardware", "interval_coverage", "interval_width",
)  # fmt: skip


def read_results(store: Store, runs: Iterable[str] | None = None) -> list[ResultRecord]:
    """All results of the given runs (default: of all), with the model that each was published as, read one by one."""
    named = store.children("runs") if runs is None else runs
    return as_results(store, [entry for run in named for entry in read_entries(store, run)])


def rank(results: Iterable[ResultRecord]) -> list[ResultRecord]:
    """By target, then by validation error, the failed ones last; ties by method, source and run."""

    def key(row: ResultRecord) -> tuple[Any, ...]:
        error = row.val_mae if row.val_mae is not None else float("inf")
        return row.target, row.status != "ok", error, row.method, row.source or "", row.run

    return sorted(results, key=key)


def matching(results: Sequence[ResultRecord], pattern: str | None) -> list[ResultRecord]:
    """Those whose target matches a name or shell pattern, none for a dataset of the catalog that has no result yet.

    Raises:
        UnknownNameError: neither a result nor a dataset of the catalog matches.
    """
    if pattern is None:
        return list(results)
    found = [row for row in results if fnmatch.fnmatchcase(row.target, pattern)]
    if not found and not any(fnmatch.fnmatchcase(name, pattern) for name in catalog.datasets()):
        targets = sorted({row.target for row in results})
        close = nearest(pattern, targets) or targets[:5]
        raise UnknownNameError(
            "The leaderboard has no target of that name",
            got=repr(pattern),
            allowed="nearest are " + ", ".join(close) if close else "nothing: it is empty",
            fix="run a transfer job first, or see `xtlray leaderboard`",
        )
    return found


def as_rows(results: Iterable[ResultRecord]) -> list[dict[str, Any]]:
    """Rows with the published columns, in their order."""
    return [{name: getattr(row, name) for name in COLUMNS} for row in results]
