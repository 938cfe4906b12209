"""Records and results of runs → the leaderboard's tables, as far as they lack them.

Files of runs are created once and not changed, so the names in a run's folders say what a table lacks of it. Results
change after they were written in two ways only: until their run is finished they may be published, and then they get
the time at which it was.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from xtlray.errors import StoreError, StoreGoneError
from xtlray.leaderboard.entries import parsed, read_entries
from xtlray.leaderboard.rows import RESULTS, TABLE_VERSION, TRIALS, Entry, trial_row
from xtlray.leaderboard.tables import Change, Table, TableError, change, rebuild
from xtlray.records import TrialRecord
from xtlray.store import Store

PART = 50  # runs of one commit
RowsOf = Callable[[Store, str], list[dict[str, Any]]]
log = logging.getLogger("xtlray.leaderboard")


def fold(store: Store, runs: Sequence[str], trials_only: bool = False) -> None:
    """Bring the tables up to date with these runs, as far as it can be done: what cannot be is said in the log.

    The results are folded last, so that where they are in their table the trials are, too.

    Args:
        store: where the runs lie.
        runs: their ids; of those that are gone nothing is kept.
        trials_only: leave the results' table alone.
    """
    for start in range(0, len(runs), PART):
        part = runs[start : start + PART]
        try:
            change(store, TRIALS, partial(_trials, store, part))
            if not trials_only:
                change(store, RESULTS, partial(_results, store, part))
        except (TableError, StoreGoneError) as error:
            log.warning("the leaderboard's tables are not up to date: %s", error)
            return
        except StoreError as error:
            if len(part) == 1:
                log.warning("%s is not in the leaderboard's tables: %s", part[0], error)
            else:
                for run in part:  # the others shall not suffer by one that is damaged
                    fold(store, [run], trials_only)


def fold_all(store: Store) -> dict[str, int]:
    """Make both tables anew from all runs; returns how many rows each of them has.

    Raises:
        TableError: they cannot be written to, or are of a newer xtlray.
    """
    counts: dict[str, int] = {}

    def decide(rows_of: RowsOf, table: Table) -> Change:
        before = {row["run"] for row in table.rows(["run"])}
        runs = store.children("runs")
        rows = [table.layout.table(_unless_damaged(rows_of, store, run)) for run in runs]
        counts[table.layout.name] = sum(map(len, rows))
        return Change({*before, *runs}, pa.concat_tables([table.layout.table([]), *rows]), replace=True)

    rebuild(store, TRIALS, partial(decide, _trial_rows))
    rebuild(store, RESULTS, partial(decide, _result_rows))
    return counts


def known_entries(table: Table, runs: Iterable[str] | None = None) -> dict[str, list[Entry] | None]:
    """The results that the table has, by run and file name; None for a run whose rows are of an older layout.

    Raises:
        TableError: the table is damaged.
    """
    found: dict[str, list[Entry] | None] = {}
    for row in table.rows(RESULTS.columns, None if runs is None else [*runs]):
        entries = found.setdefault(row["run"], [])
        if row["table_version"] != TABLE_VERSION:
            found[row["run"]] = None
        elif entries is not None:
            entries.append(_entry(row))
    return {run: entries and sorted(entries, key=lambda entry: entry.name) for run, entries in found.items()}


def _entry(row: dict[str, Any]) -> Entry:
    try:
        return Entry.from_row(row)
    except (ValueError, TypeError) as error:
        raise TableError(
            "A row of the leaderboard's table 'results' is damaged",
            got=f"{row['run']}: {str(error).splitlines()[0]}",
            fix="make it anew with `xtlray leaderboard --rebuild`",
        ) from error


def _results(store: Store, runs: Sequence[str], table: Table) -> Change | None:
    """What the table lacks of the results: runs whose rows are not those that it has."""
    known = known_entries(table, runs)
    rows = {run: _result_rows(store, run) for run in runs}
    had = {run: None if old is None else [entry.as_row() for entry in old] for run, old in known.items()}
    changed = [run for run in runs if rows[run] != had.get(run, [])]
    if not changed:
        return None
    new = RESULTS.table(row for run in changed for row in rows[run])
    return Change(changed, new, replace=not known.keys().isdisjoint(changed))


def _trials(store: Store, runs: Sequence[str], table: Table) -> Change | None:
    """What the table lacks of the records: names that it has not. Nearly always it is to be added to what is there."""
    known: dict[str, set[str]] = defaultdict(set)
    for row in table.rows(["run", "trial"], runs):
        current = row["table_version"] == TABLE_VERSION
        known[row["run"]].add(row["trial"] if current else "")  # which no record is called
    names = {run: set(trial_names(store, run)) for run in runs}
    replace = any(known[run] - names[run] for run in runs)
    if replace:
        known.clear()
    rows = [row for run in runs for row in _trial_rows(store, run, names[run] - known[run])]
    if not rows and not replace:
        return None
    return Change(runs if replace else sorted({row["run"] for row in rows}), TRIALS.table(rows), replace)


def trial_names(store: Store, run: str) -> list[str]:
    """The trials that a run has records of, sorted."""
    names = store.children(f"runs/{run}/trials")
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def _trial_rows(store: Store, run: str, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
    wanted = trial_names(store, run) if names is None else sorted(names)
    keys = [f"runs/{run}/trials/{name}.json" for name in wanted]
    found = []
    for name, key, data in zip(wanted, keys, store.get_all(keys), strict=True):
        if data is not None:  # deleted a moment ago
            found.append(trial_row(run, name, TrialRecord.read(parsed(data, key), key)))
    return found


def _result_rows(store: Store, run: str) -> list[dict[str, Any]]:
    """Rows of a run's results; none where they are those of another, as of a folder that was copied."""
    entries = read_entries(store, run)
    other = next((entry.record.run for entry in entries if entry.record.run != run), None)
    if other:
        log.warning("the results under runs/%s are those of %s: they are not in the leaderboard's tables", run, other)
        return []
    return [entry.as_row() for entry in entries]


def _unless_damaged(rows_of: RowsOf, store: Store, run: str) -> list[dict[str, Any]]:
    try:
        return rows_of(store, run)
    except StoreGoneError:
        raise
    except StoreError as error:
        log.warning("%s is not in the leaderboard's tables: %s", run, error)
        return []
