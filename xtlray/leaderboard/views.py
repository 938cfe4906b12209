"""Other sights of the results: every method against every other, what each source model is good for, and how the best
of each target went over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from xtlray.leaderboard.compare import by_target, compared, judge, summary
from xtlray.leaderboard.published import chosen
from xtlray.records import ResultRecord
from xtlray.store import Store

METHODS = ("method", "against", "targets", "lower_mae", "higher_mae", "better", "worse", "no_significant_difference")
SOURCES = (
    "source", "methods", "targets", "results", "failed", "chosen", "median_mae_over_base", "with_scratch",
    "below_scratch", "above_scratch",
)  # fmt: skip
HISTORY = (
    "target", "when", "method", "source", "val_mae", "before", "test_mae", "unit", "reason", "model", "run",
)  # fmt: skip


def methods(store: Store, results: Sequence[ResultRecord]) -> list[dict[str, Any]]:
    """Each method against each other that was tested on the same rows, as `compare` does it for two.

    Returns:
        Rows of `METHODS`, counts as `xtlray.leaderboard.compare.summary` has them, both ways round; methods that are
        better than others on more targets come first.

    Raises:
        StoreError: predictions are missing or damaged.
    """
    read, grouped = judge(store), by_target(results)
    names = sorted({result.method for mine in grouped.values() for result in mine})
    rows: list[dict[str, Any]] = []
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            found = compared(read, grouped, one, other)
            if found:
                counts = summary(found)
                rows.append({"method": one, "against": other, **counts})
                rows.append({"method": other, "against": one, **_turned(counts)})
    wins = dict.fromkeys(names, 0)
    for row in rows:
        wins[row["method"]] += row["better"]
    return sorted(rows, key=lambda row: (-wins[row["method"]], row["method"], -wins[row["against"]], row["against"]))


def _turned(counts: Mapping[str, int]) -> dict[str, int]:
    other = {"better": "worse", "worse": "better", "lower_mae": "higher_mae", "higher_mae": "lower_mae"}
    return {name: counts[other.get(name, name)] for name in counts}


def sources(results: Iterable[ResultRecord]) -> list[dict[str, Any]]:
    """What was carried over from each source model, and what was made from scratch (`source` is None), first.

    Targets whose rows are those of another count once. On each target, validation chooses among the results of a
    source; test errors are compared by mean alone.

    Returns:
        Rows of `SOURCES`; `chosen`: targets of which it has the best model, by validation; `with_scratch`: those
        that have a result from scratch, too, and on how many of them its test MAE is lower, `below_scratch`, and
        higher, `above_scratch`.
    """
    once = _distinct(list(results))
    scratch = {result.target: result for result in chosen(result for result in once if result.source is None)}
    winners = [result.source for result in chosen(once)]
    rows = []
    for source in sorted({result.source for result in once}, key=lambda name: (name is not None, name or "")):
        mine = [result for result in once if result.source == source]
        best = chosen(mine)
        over_base = [result.mae_over_base for result in best if result.mae_over_base is not None]
        row = {
            "source": source,
            "methods": len({result.method for result in mine}),
            "targets": len({result.target for result in mine}),
            "results": len(mine),
            "failed": sum(result.status == "failed" for result in mine),
            "chosen": winners.count(source),
            "median_mae_over_base": median(over_base) if over_base else None,
        }
        rows.append({**row, **_against_scratch(best, scratch if source else {})})
    return rows


def _distinct(results: Sequence[ResultRecord]) -> list[ResultRecord]:
    """Without targets whose rows are those of another that sorts before."""
    first: dict[tuple[str, str], str] = {}
    for result in sorted(results, key=lambda result: result.target):
        first.setdefault((result.data_hash or result.target, result.split_id), result.target)
    return [r for r in results if first[(r.data_hash or r.target, r.split_id)] == r.target]


def _against_scratch(best: Iterable[ResultRecord], scratch: Mapping[str, ResultRecord]) -> dict[str, int]:
    pairs = []
    for mine in best:
        other = scratch.get(mine.target)
        if other and (mine.data_hash, mine.split_id) == (other.data_hash, other.split_id):
            pairs.append((mine.test_mae, other.test_mae))
    tested = [(mine, other) for mine, other in pairs if mine is not None and other is not None]
    return {
        "with_scratch": len(tested),
        "below_scratch": sum(mine < other for mine, other in tested),
        "above_scratch": sum(mine > other for mine, other in tested),
    }


def history(
    results: Iterable[ResultRecord], dates: Mapping[tuple[str, str, str, str | None], datetime]
) -> list[dict[str, Any]]:
    """How the best of each target went over time: each run's choice that was better than what had been before.

    As for the alias `best`, errors are compared on the same validation rows by the same protocol only; the first on
    others begins anew. Results without a date, of runs that are not finished, are left out.

    Args:
        results: what there is.
        dates: of the results, as a `Board` has them.

    Returns:
        Rows of `HISTORY`, by target and time; `before` is the validation error that was the lowest until then.
    """
    by_run: dict[str, list[ResultRecord]] = {}
    for result in results:
        if _arm(result) in dates:
            by_run.setdefault(result.run, []).append(result)
    choices = [choice for mine in by_run.values() for choice in chosen(mine)]
    rows: list[dict[str, Any]] = []
    best: dict[str, ResultRecord] = {}
    for choice in sorted(choices, key=lambda choice: (choice.target, dates[_arm(choice)], choice.run)):
        before = best.get(choice.target)
        reason = _reason(choice, before)
        if reason:
            same = before if before and _rows(before) == _rows(choice) else None
            row = {
                "when": f"{dates[_arm(choice)]:%Y-%m-%dT%H:%M:%SZ}",
                "before": same and same.val_mae,
                "reason": reason,
            }
            rows.append({name: row[name] if name in row else getattr(choice, name) for name in HISTORY})
            best[choice.target] = choice
    return rows


def _reason(choice: ResultRecord, before: ResultRecord | None) -> str | None:
    """Why a choice is the best now; None where it is not."""
    assert choice.val_mae is not None, "what is chosen has a validation error"
    if before is None:
        return "first"
    if _rows(choice) != _rows(before):
        return "other validation rows"
    assert before.val_mae is not None
    if choice.val_mae >= before.val_mae:
        return None
    return f"{1 - choice.val_mae / before.val_mae:.1%} lower"


def _rows(result: ResultRecord) -> tuple[str, str, str, int]:
    """The same for results whose validation errors can be compared."""
    return result.data_hash, result.split_id, result.protocol, result.rows_val


def _arm(result: ResultRecord) -> tuple[str, str, str, str | None]:
    return result.run, result.target, result.method, result.source
