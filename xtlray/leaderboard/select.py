"""Which results are shown, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from xtlray.errors import unknown
from xtlray.leaderboard.fold import matching
from xtlray.records import ResultRecord

SCRATCH = "scratch"
Row = TypeVar("Row")


def select(
    results: Sequence[ResultRecord],
    target: str | None = None,
    method: str | None = None,
    source: str | None = None,
    status: str | None = None,
) -> list[ResultRecord]:
    """The results that match all that is given; None matches everything.

    Args:
        results: what there is.
        target: name or shell pattern.
        method: name or shell pattern.
        source: name or shell pattern of a source model, with or without its version; `scratch` for none. Of several
            that were carried over together, one has to match.
        status: "ok" or "failed".

    Raises:
        UnknownNameError: there is no such target, method or source.
    """
    found = matching(results, target)
    if method:
        found = _named("method", method, found, lambda result: [result.method])
    if source:
        found = _named("source", source, found, _sources)
    return [result for result in found if status in (None, result.status)]


def ordered(
    rows: Iterable[Row], column: str | None, reverse: bool, columns: Sequence[str], value: Callable[[Row, str], Any]
) -> list[Row]:
    """The rows by a column, those without a value last; without a column as they came.

    Args:
        rows: what is to be ordered.
        column: one of `columns`.
        reverse: the other way round.
        columns: those that there are.
        value: of a row's column.

    Raises:
        UnknownNameError: there is no such column.
    """
    rows = list(rows)
    if column is None:
        return rows[::-1] if reverse else rows
    column = column.replace("-", "_")
    if column not in columns:
        raise unknown("column", column, columns)
    known = [row for row in rows if value(row, column) is not None]
    known.sort(key=lambda row: value(row, column), reverse=reverse)
    return known + [row for row in rows if value(row, column) is None]


def _named(
    kind: str, pattern: str, results: Sequence[ResultRecord], names: Callable[[ResultRecord], list[str]]
) -> list[ResultRecord]:
    found = [result for result in results if any(fnmatchcase(name, pattern) for name in names(result))]
    if results and not found:
        raise unknown(kind, pattern, {name for result in results for name in names(result)}, "see `xtlray leaderboard`")
    return found


def _sources(result: ResultRecord) -> list[str]:
    if result.source is None:
        return [SCRATCH]
    parts = result.source.split("+")
    return [*dict.fromkeys([result.source, *parts, *(part.partition("@")[0] for part in parts)])]
