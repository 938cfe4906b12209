"""The board: all results, from the table where it has them, else from the runs themselves.

It is right whatever state the table is in. Of each run, the names of its results are listed and compared with those
that the table has; only what is missing is read file by file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from xtlray.leaderboard.entries import AT_ONCE, as_results, dates, finished_at, published_as, read_entries, result_names
from xtlray.leaderboard.folding import fold, known_entries, trial_names
from xtlray.leaderboard.rows import RESULTS, Entry
from xtlray.leaderboard.tables import TableError, open_table
from xtlray.records import ResultRecord
from xtlray.store import Store

log = logging.getLogger("xtlray.leaderboard")


@dataclass(frozen=True)
class Board:
    """What there is.

    Attributes:
        results: by run and file name.
        dates: when each was published, else when its run was finished: by run, target, method and source.
        behind: runs of which the table has not what they have.
        without: runs that have no results, though maybe trials.
    """

    results: list[ResultRecord]
    dates: Mapping[tuple[str, str, str, str | None], datetime]
    behind: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)


def read_board(store: Store, runs: Sequence[str] | None = None) -> Board:
    """The results of the given runs (default: of all), with the models that they are published as.

    Raises:
        StoreError: a result that is not in the table is damaged.
    """
    known = _known(store, runs)
    named = list(store.children("runs") if runs is None else runs)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        whole = dict(zip(named, pool.map(lambda run: _is_whole(store, run, known.get(run, [])), named), strict=True))
    entries = {run: (known.get(run) or []) if whole[run] else read_entries(store, run) for run in named}
    behind = [run for run in named if entries[run] != known.get(run, [])]
    found = [entry for run in named for entry in entries[run]]
    return Board(
        as_results(store, found),
        dates(found),
        behind + [run for run in known if run not in entries],  # the last are gone
        [run for run in named if not entries[run]],
    )


def keep_up(store: Store, board: Board) -> None:
    """Fold into the tables what they lack; what hinders it is said in the log."""
    if store.read_only:
        return
    if board.behind:
        log.info("the leaderboard's tables: adding what %d runs have", len(board.behind))
        fold(store, board.behind)
    others = [run for run in board.without if run not in board.behind]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = dict(zip(others, pool.map(lambda run: trial_names(store, run), others), strict=True))
    trials = [run for run in others if names[run]]
    if trials:
        fold(store, trials, trials_only=True)


def fold_run(store: Store, run: str) -> None:
    """Fold a run that has been finished into the tables, if it has anything for them; what hinders it is logged."""
    if result_names(store, run) or trial_names(store, run):
        fold(store, [run])


def _known(store: Store, runs: Sequence[str] | None) -> dict[str, list[Entry] | None]:
    try:
        table = open_table(store, RESULTS)
        return known_entries(table, runs) if table else {}
    except TableError as error:
        log.warning("%s Until then results are read one by one", error)
        return {}


def _is_whole(store: Store, run: str, known: list[Entry] | None) -> bool:
    """Whether the table has all that the run has."""
    if known is None or result_names(store, run) != [entry.name for entry in known]:
        return False
    if not known or known[0].finished:
        return True
    if finished_at(store, run):
        return False
    return published_as(store, run) == {e.name: (e.record.model, e.published) for e in known if e.record.model}
