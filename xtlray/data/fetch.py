"""Fetch datasets that the catalog knows by name: find their files, read them as text, ingest them.

One dataset that fails does not lose the others: all are tried, and the failures are told together at the end. What is
in the store already is complete, so the next try does the rest. One process is enough: reading, checking and writing
take some 12 µs a row, less than most downloads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xtlray import catalog
from xtlray.catalog import DatasetInfo
from xtlray.data.ingest import About, Provenance, ingest_table
from xtlray.data.origins import Origin, notes, open_origin
from xtlray.data.read import Table, read_table
from xtlray.data.splits import Protocol
from xtlray.errors import RequestError, WorkError, XtlrayError
from xtlray.records import DatasetCard, SourceFile
from xtlray.store import Store


@dataclass(frozen=True)
class Fetched:
    """One dataset is finished.

    Attributes:
        outcome: its card, or why it failed.
        done: how many datasets are finished, this one included.
        total: how many there are.
    """

    name: str
    outcome: DatasetCard | XtlrayError
    done: int
    total: int


def fetch(
    store: Store,
    patterns: Sequence[str],
    origin: str | os.PathLike[str] | None = None,
    *,
    base_url: str | None = None,
    allow_rejected: bool = False,
    progress: Callable[[Fetched], None] | None = None,
) -> list[DatasetCard]:
    """Fetch all datasets whose names match, and ingest them.

    Args:
        store: where to.
        patterns: names or shell patterns such as `jarvis/*`. Datasets that come with the package are passed over.
        origin: None for the publishers' repositories, else a mirror: a folder or a web address (`data/origins.py`).
        base_url: what stands for https://raw.githubusercontent.com; by default `$XTLRAY_GITHUB_RAW`, else that.
        allow_rejected: keep the rest where more than 1 % of a dataset's rows are rejected.
        progress: called after each dataset.

    Returns:
        The cards, in catalog order.

    Raises:
        RequestError: a pattern matches nothing that can be fetched, or the origin is no place.
        WorkError: some datasets failed; the message says which and why. The others are in the store.
    """
    infos = _fetchable(patterns)
    source = open_origin(origin, base_url)
    cards: list[DatasetCard] = []
    failures: dict[str, XtlrayError] = {}
    for done, info in enumerate(infos, start=1):
        outcome = _attempt(store, info, source, allow_rejected)
        if isinstance(outcome, DatasetCard):
            cards.append(outcome)
        else:
            failures[info.name] = outcome
        if progress:
            progress(Fetched(info.name, outcome, done, len(infos)))
    _raise_failures(failures, len(infos))
    return cards


def fetch_one(store: Store, info: DatasetInfo, origin: Origin, *, allow_rejected: bool = False) -> DatasetCard:
    """Fetch and ingest one dataset. Raises `DownloadError` or what `ingest_table` raises."""
    located = origin.files(info)
    tables = [read_table(file.path) for file in located]
    formulas: list[str | None] = []
    values: list[Any] = []
    sides: list[str] = []
    for file, table in zip(located, tables, strict=True):
        formula, target = _columns(table, info)
        formulas += table.formulas(formula)
        values += table.cells(target)
        sides += [file.split or "train"] * len(table)
    protocol = Protocol.POOL
    if info.protocol == "published":
        protocol = Protocol.PUBLISHED if "test" in sides else Protocol.TRAIN_ONLY
    files = [
        SourceFile(name=file.name, split=file.split, rows=len(table), sha256=table.sha256)
        for file, table in zip(located, tables, strict=True)
    ]
    return ingest_table(
        store,
        info.name,
        formulas=formulas,
        values=values,
        about=about(info),
        protocol=protocol,
        sides=sides if protocol is Protocol.PUBLISHED else None,
        provenance=Provenance(
            origin=origin.describe(info), files=files, notes=notes(info, origin, [(f.split, f.rows) for f in files])
        ),
        allow_rejected=allow_rejected,
    )


def about(info: DatasetInfo) -> About:
    """What the catalog knows of a dataset, as an ingest wants it."""
    return About(
        unit=info.unit,
        label=info.label,
        plausible=info.plausible,
        licence=info.licence,
        citation=info.citation,
        source=info.source,
        description=info.description,
        warning=info.warning,
    )


def _columns(table: Table, info: DatasetInfo) -> tuple[str, str]:
    """The columns of formulas and targets: by the names that the catalog knows, else by what they hold."""
    known = [name for name in info.columns if name in table.columns]
    try:
        formula = table.formula_column()
    except RequestError:
        # Published tables are not under our control: an unfamiliar name is fine where only one column can be meant.
        others = [name for name in table.columns if name not in known and name.strip()]
        if not known or len(others) != 1:
            raise
        formula = others[0]
    return formula, known[0] if known else table.target_column(formula)


def _fetchable(patterns: Sequence[str]) -> list[DatasetInfo]:
    found = [catalog.get(name) for name in catalog.find(patterns)]
    fetchable = [info for info in found if info.files]
    if not fetchable:
        raise RequestError(
            "There is nothing to fetch",
            got=", ".join(info.name for info in found),
            allowed="datasets with published files; these come with the package and are ready for use",
        )
    return fetchable


def _attempt(store: Store, info: DatasetInfo, origin: Origin, allow_rejected: bool) -> DatasetCard | XtlrayError:
    try:
        return fetch_one(store, info, origin, allow_rejected=allow_rejected)
    except XtlrayError as error:
        return error


def _raise_failures(failures: Mapping[str, XtlrayError], total: int) -> None:
    if not failures:
        return
    first = next(iter(failures.values()))
    if total == 1:
        raise first
    kind = RequestError if all(isinstance(error, RequestError) for error in failures.values()) else WorkError
    raise kind(
        f"{len(failures)} of {total} datasets could not be fetched",
        got="\n" + "\n".join(f"  {name}: {error}" for name, error in failures.items()) + "\n",
        fix="run it again for these; the others are in the store",
    ) from first
