"""Make a dataset version of a table: check each row, cut the splits, write shards, card and report.

Nothing is dropped in silence: `rows_read = rows_kept + rows_rejected`, with a reason for each rejected row in a file
beside the card. Values outside the plausible range are kept and counted, repeated formulas (polymorphs) are kept.
What an interrupted ingest left behind is completed by the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from xtlray import __version__
from xtlray.chem.formula import SYMBOLS, Compositions, parse
from xtlray.data import shards
from xtlray.data.numbers import numbers
from xtlray.data.read import Table, read_table
from xtlray.data.rejections import Rejections
from xtlray.data.splits import Cut, Protocol, cut
from xtlray.errors import RequestError
from xtlray.names import check_dataset_name
from xtlray.records import SPLITS, DatasetCard, DatasetPointer, IngestReport, SourceFile, Split
from xtlray.store import Store


@dataclass(frozen=True)
class About:
    """What is known of a dataset besides its rows.

    Attributes:
        unit: of the values; None where it is not known, `1` where they have no dimension.
        label: the property's long name, for titles.
        plausible: lower and upper end of the values that are physically possible, in the unit.
    """

    unit: str | None
    label: str
    plausible: tuple[float, float] | None = None
    licence: str | None = None
    citation: str | None = None
    source: str | None = None
    description: str | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Provenance:
    """Where a table's rows came from.

    Attributes:
        origin: a publisher's repository, a mirror, a user's file; a sentence or a URL.
        files: the files read, in the order of the rows; with them each row has a file.
        notes: what a reader should know, such as rows fewer than published.
        retrieved: the date of reading, ISO 8601; empty means today (UTC).
    """

    origin: str
    files: Sequence[SourceFile] = ()
    notes: Sequence[str] = ()
    retrieved: str = ""


def ingest_file(
    store: Store,
    path: str | Path,
    name: str,
    unit: str,
    *,
    formula_column: str | None = None,
    target_column: str | None = None,
    test: str | Path | None = None,
    allow_rejected: bool = False,
    reserved: Collection[str] = (),
) -> DatasetCard:
    """Ingest a user's CSV or Parquet as the dataset `name`.

    Args:
        store: where to.
        path: the file; all of its rows are cut 81/9/10 by composition unless `test` is given.
        name: `<source>/<property>`.
        unit: of the values.
        formula_column: None finds it by its name.
        target_column: None takes the only other column of numbers.
        test: a second file whose rows are the test rows, exactly; validation is then cut from `path`. Rows are
            numbered on from the first file to the second.
        allow_rejected: keep the rest where more than 1 % of the rows are rejected.
        reserved: sources that `name` must not have.

    Raises:
        RequestError: the name, a file or too many of its rows are not what they must be.
    """
    check_dataset_name(name, reserved)
    if not unit.strip():
        raise RequestError("The unit is empty", fix="give one with --unit, `1` for a number without dimension")
    first = read_table(path)
    formula = first.formula_column(formula_column)
    target = first.target_column(formula, target_column)
    tables = [first, read_table(test)] if test is not None else [first]
    published: tuple[Split | None, ...] = ("train", "test") if test is not None else (None,)
    files = [
        SourceFile(name=Path(table.path).name, split=split, rows=len(table), sha256=table.sha256)
        for table, split in zip(tables, published, strict=True)
    ]
    return ingest_table(
        store,
        name,
        formulas=[text for table in tables for text in table.formulas(formula)],
        values=[cell for table in tables for cell in _cells(table, target)],
        about=About(unit=unit, label=target.strip()),
        protocol=Protocol.PUBLISHED if test is not None else Protocol.POOL,
        sides=["train"] * len(first) + ["test"] * len(tables[1]) if test is not None else None,
        provenance=Provenance(origin="a user's file", files=files),
        allow_rejected=allow_rejected,
    )


def ingest_table(
    store: Store,
    name: str,
    *,
    formulas: Sequence[str | None],
    values: Sequence[Any],
    about: About,
    protocol: Protocol,
    provenance: Provenance,
    sides: Sequence[str] | None = None,
    allow_rejected: bool = False,
) -> DatasetCard:
    """Ingest a table that is in memory.

    Args:
        store: where to.
        name: `<source>/<property>`.
        formulas: one text per row.
        values: one target per row: a text, a number, or None where missing.
        about: unit, label, licence and the like.
        protocol: how the rows are cut.
        provenance: where the rows came from.
        sides: for `Protocol.PUBLISHED`, "train" or "test" per row.
        allow_rejected: keep the rest where more than 1 % of the rows are rejected.

    Returns:
        The card, with the report of this very ingest.

    Raises:
        RequestError: no row or too few compositions can be kept, more than 1 % are rejected, or the same rows were
            ingested under this name in another unit.
    """
    check_dataset_name(name)
    assert len(formulas) == len(values)
    compositions, formula_reasons = parse(formulas)
    value_B, target_reasons = numbers(values)
    rejections = Rejections.of(len(formulas), formula_reasons, target_reasons)
    rejections.check(name, allow_rejected)
    kept = rejections.kept()
    found = compositions.take(kept)
    made = cut(found, protocol, [sides[i] for i in kept.tolist()] if sides is not None else None)
    texts = [str(formulas[i]).strip() for i in kept.tolist()]
    rows = shards.KeptRows.canonical(made.side_B, texts, value_B[kept], found)
    rejected_file = rejections.as_csv(formulas, values, provenance.files) if len(rejections) else None
    report = _report(rejections, provenance, made, rejected_file[0] if rejected_file else None)
    return _publish(store, name, rows, _Context(about, protocol, made, report), rejected_file)


@dataclass(frozen=True)
class _Context:
    about: About
    protocol: Protocol
    cut: Cut
    report: IngestReport


def _cells(table: Table, target: str) -> Sequence[Any]:
    """The target's cells of a test file, whose columns are named as in the first one."""
    return table.cells(table.target_column("", target))


def _report(rejections: Rejections, provenance: Provenance, made: Cut, rejected_file: str | None) -> IngestReport:
    notes = list(provenance.notes)
    if made.shared:
        tests = int((made.side_B == SPLITS.index("test")).sum())
        notes.append(f"{made.shared} of the {tests} test rows have a composition of the training or validation rows")
    if not (made.side_B == SPLITS.index("test")).any():
        notes.append("there are no test rows")
    return IngestReport(
        rows_read=rejections.rows_read,
        rows_kept=rejections.rows_read - len(rejections),
        rows_rejected=len(rejections),
        rejections=rejections.summary(),
        rejected_file=rejected_file,
        files=list(provenance.files),
        origin=provenance.origin,
        notes=notes,
        retrieved=provenance.retrieved or datetime.now(UTC).date().isoformat(),
    )


def _publish(
    store: Store, name: str, rows: shards.KeptRows, context: _Context, rejected_file: tuple[str, bytes] | None
) -> DatasetCard:
    """Shards, then the card, then the log entry that makes the name mean them: a reader never sees a part of it."""
    data_hash = rows.data_hash()
    folder = f"datasets/{name}/{data_hash}"
    key = f"{folder}/card.json"
    held = DatasetCard.read(store.get_json(key), key) if store.exists(key) else None
    if held is not None:
        _check_unit(held, context.about)
    if rejected_file is not None:  # another route to the same rows may reject others
        store.ensure(f"{folder}/{rejected_file[0]}", rejected_file[1])
    card = held
    if card is None:
        files, parts = shards.write(rows)
        card = _card(name, rows, data_hash, parts, context)
        store.publish(folder, files, "card.json", card.as_json())
    _point(store, name, DatasetPointer(data_hash=data_hash, ingest=context.report))
    return card.model_copy(update={"ingest": context.report})


def _check_unit(card: DatasetCard, about: About) -> None:
    if card.unit != about.unit:
        raise RequestError(
            f"The same rows are in the store as {card.name} already, in another unit",
            got=repr(about.unit),
            allowed=repr(card.unit),
            fix="give that unit, or another name",
        )


def _card(name: str, rows: shards.KeptRows, data_hash: str, parts: list[Any], context: _Context) -> DatasetCard:
    about, value_B = context.about, rows.value
    outside = None
    if about.plausible is not None:
        outside = int(((value_B < about.plausible[0]) | (value_B > about.plausible[1])).sum())
    return DatasetCard(
        name=name,
        unit=about.unit,
        label=about.label,
        data_hash=data_hash,
        split_id=rows.split_id(),
        split_protocol=str(context.protocol),
        rows=len(rows),
        splits={split: int(rows.of(split).sum()) for split in SPLITS},
        rows_outside_plausible=outside,
        compositions=context.cut.compositions,
        elements=_element_counts(rows.compositions),
        target=_statistics(value_B),
        parts=parts,
        licence=about.licence,
        citation=about.citation,
        source=about.source,
        description=about.description,
        warning=about.warning,
        ingest=context.report,
        xtlray_version=__version__,
    )


def _statistics(value_B: np.ndarray) -> dict[str, float]:
    # Values up to 1e308 are finite, their squares are not: scaled by the largest first.
    scale = float(np.abs(value_B).max()) or 1.0
    scaled = value_B / scale
    return {
        "mean": float(scaled.mean()) * scale,
        "std": float(scaled.std()) * scale,
        "min": float(value_B.min()),
        "max": float(value_B.max()),
    }


def _element_counts(compositions: Compositions) -> dict[str, int]:
    counts = np.bincount(compositions.z, minlength=len(SYMBOLS) + 1)
    return {symbol: int(counts[z]) for z, symbol in enumerate(SYMBOLS, start=1) if counts[z]}


def _point(store: Store, name: str, pointer: DatasetPointer) -> None:
    """Let the name mean this version, unless the newest entry says so already; the date of reading is no difference."""
    folder = f"datasets/{name}/current"
    newest = store.newest(folder)
    if newest is not None:
        held = DatasetPointer.read(newest[1], f"{folder}/{newest[0]}.json")
        dated = held.ingest.model_copy(update={"retrieved": pointer.ingest.retrieved})
        if held.model_copy(update={"ingest": dated}) == pointer:
            return
    store.append(folder, pointer.as_json())
