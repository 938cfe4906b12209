"""The leaderboard's Delta tables: opened, read, and changed so that no row is ever there twice.

Why nothing is doubled, without a lock. A change concerns certain runs. It is made from one version of the table: that
version is loaded, *then* the runs are read from the store, and what the table lacks of them is committed. The commit
carries each run's id as a Delta application transaction, and Delta refuses it if any commit after the loaded version
carries one of the same ids. So nobody has changed rows of these runs between looking and writing, and each has read
the store later than whoever wrote before: nothing comes twice, and the later state holds. Whoever is refused looks
again. Commits about other runs do not get in the way.

That a version is committed by one writer rests on create-once writes, as all that is ours does: on a local disk a hard
link, on S3 `If-None-Match`. One whose answer was lost is met again as another's commit with the same ids, and refused:
the second look finds its rows. What a writer wrote that was killed before it committed is in no version of the table.

Nothing is used that old readers lack (reader version 1, writer version 2: no deletion vectors, no column mapping).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from xtlray.errors import StoreError, StoreGoneError, XtlrayError
from xtlray.leaderboard.rows import TABLE_VERSION, Layout
from xtlray.refusals import cleaned, in_short
from xtlray.store import Store

TRIES = 30  # of a change that others forestall
FILES = 40  # of which one is made
_SETTINGS = {"delta.checkpointInterval": "20"}
_WRITER = WriterProperties(compression="SNAPPY")
log = logging.getLogger("xtlray.leaderboard")


class TableError(StoreError):
    """A table cannot be read or changed; what it is folded from is as it was."""


@dataclass(frozen=True)
class Change:
    """What a table is to hold of certain runs.

    Attributes:
        runs: whose rows these are, those that are to have none included.
        rows: in the table's columns.
        replace: whether the rows that the table has of these runs go.
    """

    runs: Collection[str]
    rows: pa.Table
    replace: bool


class Table:
    """One version of a table."""

    def __init__(self, layout: Layout, delta: DeltaTable) -> None:
        self.layout, self._delta = layout, delta

    def rows(self, columns: Iterable[str], runs: Collection[str] | None = None) -> list[dict[str, Any]]:
        """These columns and `table_version` of the rows of these runs, or of all, in no order.

        Columns that an older table lacks are None.

        Raises:
            TableError: it is damaged, or was written by a newer xtlray.
        """
        wanted = [*dict.fromkeys((*columns, "table_version"))]
        with _understood("read", self.layout):
            known = self._known()
            listed = ", ".join(f'"{name}"' for name in wanted if name in known)
            which = "" if runs is None else f" WHERE {_among(runs)}"
            stream = QueryBuilder().register("t", self._delta).execute(f"SELECT {listed} FROM t{which}")
            found = pa.RecordBatchReader.from_stream(stream).read_all()
            values = [found[name].to_pylist() if name in known else [None] * len(found) for name in wanted]
        if any((version or 0) > TABLE_VERSION for version in values[wanted.index("table_version")]):
            raise _newer(self.layout)
        return [dict(zip(wanted, row, strict=True)) for row in zip(*values, strict=True)]

    def commit(self, change: Change) -> None:
        """Make the change. Raises `CommitFailedError` where another has changed rows of the same runs meanwhile."""
        missing = {*self.layout.columns} - self._known()
        options: dict[str, Any] = {"commit_properties": self._mark(change.runs), "writer_properties": _WRITER}
        if change.replace and not len(change.rows):
            self._delta.delete(_among(change.runs), **options)
            return
        options |= {"schema_mode": "merge"} if missing else {}
        options |= {"mode": "overwrite", "predicate": _among(change.runs)} if change.replace else {"mode": "append"}
        write_deltalake(self._delta, change.rows, **options)

    def refill(self, change: Change) -> None:
        """Make the change, with these columns, and let go of all other rows. Raises as `commit` does."""
        write_deltalake(
            self._delta,
            change.rows,
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=self._mark(change.runs),
            writer_properties=_WRITER,
        )

    def tidy(self) -> None:
        """Where there are many files make one of them; those that have been out of the table for a week are deleted."""
        if len(self._delta.file_uris()) < FILES:
            return
        try:
            self._delta.optimize.compact(writer_properties=_WRITER)
            self._delta.vacuum(dry_run=False, full=True)  # what killed writers have left, too
        except (DeltaError, OSError) as error:  # another was faster, or we may not delete: the rows are where they were
            log.debug("the table %s is left in many files: %s", self.layout.name, error)

    def _known(self) -> set[str]:
        """Its columns. Raises `TableError` where we do not know one of them."""
        known = {field.name for field in self._delta.schema().fields}
        if known - {*self.layout.columns}:
            raise _newer(self.layout)
        return known

    def _mark(self, runs: Collection[str]) -> CommitProperties:
        number = self._delta.version() + 1
        return CommitProperties(app_transactions=[Transaction(run, number) for run in runs])


def open_table(store: Store, layout: Layout) -> Table | None:
    """The table as it is now; None where there is none.

    Raises:
        TableError: it is damaged.
    """
    url, options = store.delta(layout.folder)
    with _understood("read", layout):
        try:
            return Table(layout, DeltaTable(url, storage_options=options))
        except TableNotFoundError:
            return None


def change(store: Store, layout: Layout, decide: Callable[[Table], Change | None]) -> bool:
    """Change a table, made if there is none; returns whether there was anything to change.

    Args:
        store: where it lies.
        layout: which it is.
        decide: looks at a version of the table, and *then* at the store; None where nothing is to be done.

    Raises:
        TableError: it is damaged, of a newer xtlray, or cannot be written to.
    """
    return _persist(store, layout, decide, Table.commit)


def rebuild(store: Store, layout: Layout, decide: Callable[[Table], Change]) -> None:
    """Make a table anew, at once for whoever reads it; a damaged one is deleted first. Arguments are as of `change`.

    Raises:
        TableError: it cannot be written to, or is of a newer xtlray.
    """
    try:
        found = open_table(store, layout)
        if found:
            found.rows(["run"])
    except _NewerTableError:
        raise
    except TableError as error:
        log.warning("%s", error)
        store.delete(store.list(layout.folder))
    _persist(store, layout, decide, Table.refill)


def _persist(
    store: Store,
    layout: Layout,
    decide: Callable[[Table], Change | None],
    write: Callable[[Table, Change], None],
) -> bool:
    for tried in range(TRIES):
        found = open_table(store, layout) or _create(store, layout)
        wanted = decide(found)
        if wanted is None:
            return False
        _check_writable(store, layout)
        with _understood("written to", layout):
            try:
                write(found, wanted)
                found.tidy()
            except CommitFailedError as error:
                log.debug("another was faster with the table %s: %s", layout.name, error)
                time.sleep(random.uniform(0, 0.02 * (tried + 1)))
                continue
        return True
    raise TableError(
        f"The leaderboard's table {layout.name!r} is being changed by too many at once",
        fix="run `xtlray leaderboard` when they are done: it adds what is missing",
    )


def _check_writable(store: Store, layout: Layout) -> None:
    """Raises `TableError` where we may not write: delta-rs would panic, which nobody can keep off the terminal."""
    try:
        store.create(f"{layout.folder}/_writable", b"")  # names that begin so are no part of a table
    except StoreGoneError:
        raise
    except StoreError as error:
        raise TableError(f"The leaderboard's table {layout.name!r} cannot be written to", got=str(error)) from error


def _create(store: Store, layout: Layout) -> Table:
    """A table without rows. Of those who make it at once some make it twice over, which is the same."""
    _check_writable(store, layout)
    url, options = store.delta(layout.folder)
    with _understood("made", layout):
        try:
            made = DeltaTable.create(
                url,
                schema=layout.schema,
                mode="error",
                name=f"leaderboard/{layout.name}",
                description=layout.about,
                configuration=_SETTINGS,
                storage_options=options,
            )
            return Table(layout, made)
        except DeltaError:
            found = open_table(store, layout)  # another's
            if found is None:
                raise
            return found


def _among(runs: Collection[str]) -> str:
    """The SQL condition that a row is of one of these runs."""
    names = ", ".join("'" + run.replace("'", "''") + "'" for run in sorted(runs))
    return f"run IN ({names})" if runs else "false"


class _NewerTableError(TableError):
    """A newer xtlray knows what is in it, we do not."""


def _newer(layout: Layout) -> TableError:
    return _NewerTableError(
        f"The leaderboard's table {layout.name!r} was written by a newer xtlray", fix="upgrade xtlray"
    )


@contextmanager
def _understood(verb: str, layout: Layout) -> Iterator[None]:
    """Turns what delta-rs raises, which is of many types and some of none but `Exception`, into one of ours."""
    try:
        yield
    except XtlrayError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # as Rust's are called
            raise
        raise TableError(
            f"The leaderboard's table {layout.name!r} cannot be {verb}",
            got=in_short(error),
            fix="if it is damaged, make it anew with `xtlray leaderboard --rebuild`",
        ) from cleaned(error)
