"""`xtlray data`: list, show, fetch, ingest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Context, group

if TYPE_CHECKING:
    from xtlray.data.fetch import Fetched

_COLUMNS = {
    "name": "name",
    "label": "property",
    "unit": "unit",
    "rows_kept": "rows",
    "rows_rejected": "rejected",
    "splits": "splits",
    "problem": "problem",
}


@group()
def data() -> None:
    """Datasets: list, show, fetch, ingest."""


@data.command("list")
@click.pass_obj
def list_(ctx: Context) -> None:
    """All datasets: those known by name, fetched or not, and your own."""
    from xtlray.data.listing import fetchable, overview

    rows = overview(ctx.store)
    columns = {key: title for key, title in _COLUMNS.items() if key != "problem" or any(row["problem"] for row in rows)}
    ctx.emit(rows, columns)
    absent = sum(row["rows_read"] is None and not row["problem"] and fetchable(row["name"]) for row in rows)
    if absent:
        ctx.progress(f"{absent} of {len(rows)} are not in the store yet: xtlray data fetch NAME gets them")


@data.command()
@click.argument("name")
@click.pass_obj
def show(ctx: Context, name: str) -> None:
    """One dataset: unit, rows and why some were rejected, splits, licence, citation, published errors."""
    from xtlray.data.listing import details, fetchable

    found = details(ctx.store, name)
    ctx.emit(_readable(found) if ctx.for_people else found)
    if found["rows_read"] is None and fetchable(name):
        ctx.progress(f"not in the store yet: xtlray data fetch {name}")


@data.command()
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
@click.option("--from", "origin", metavar="DIR_OR_URL", help="A mirror, instead of the publishers' repositories.")
@click.option("--allow-rejected", is_flag=True, help="Keep the rest where more than 1 % of the rows are rejected.")
@click.pass_obj
def fetch(ctx: Context, patterns: tuple[str, ...], origin: str | None, allow_rejected: bool) -> None:
    """Fetch datasets that are known by name. PATTERN is a name or a shell pattern such as 'jarvis/*'."""
    from xtlray.data.dataset import open_dataset
    from xtlray.data.fetch import fetch as fetch_all
    from xtlray.data.listing import row

    cards = fetch_all(
        ctx.store,
        patterns,
        origin,
        allow_rejected=allow_rejected,
        progress=lambda fetched: ctx.progress(_told(fetched)),
    )
    ctx.emit([row(card.name, open_dataset(ctx.store, card.name)) for card in cards], _without_problem())


@data.command()
@click.argument("file", type=click.Path())
@click.option("--name", required=True, metavar="SOURCE/PROPERTY", help="What the dataset shall be called.")
@click.option("--unit", required=True, help="Unit of the values; 1 where they have no dimension.")
@click.option("--formula-column", metavar="C", help="The formulas' column.  [default: found by its name]")
@click.option("--target-column", metavar="C", help="The values' column.  [default: the only other column of numbers]")
@click.option("--test", type=click.Path(), metavar="FILE", help="A second file, whose rows are the test rows.")
@click.option("--allow-rejected", is_flag=True, help="Keep the rest where more than 1 % of the rows are rejected.")
@click.pass_obj
def ingest(ctx: Context, file: str, name: str, unit: str, **options: Any) -> None:
    """Make a dataset of a CSV or Parquet file of your own."""
    from xtlray.catalog import SOURCES
    from xtlray.data.dataset import open_dataset
    from xtlray.data.ingest import ingest_file
    from xtlray.data.listing import row

    ingest_file(ctx.store, file, name, unit, reserved=SOURCES, **options)
    dataset = open_dataset(ctx.store, name)
    ctx.emit(row(name, dataset) if ctx.json else [row(name, dataset)], _without_problem())
    for line in [_rejection(rejection.as_json()) for rejection in dataset.ingest.rejections] + dataset.ingest.notes:
        ctx.progress(line)


def _without_problem() -> dict[str, str]:
    return {key: title for key, title in _COLUMNS.items() if key != "problem"}


def _told(fetched: Fetched) -> str:
    """One line of progress."""
    from xtlray.records import DatasetCard

    where = f"{fetched.done}/{fetched.total} {fetched.name}"
    if not isinstance(fetched.outcome, DatasetCard):
        return f"{where}: failed: {fetched.outcome}"
    report = fetched.outcome.ingest
    rejected = f", {report.rows_rejected:,} rejected" if report.rows_rejected else ""
    return f"{where}: {report.rows_kept:,} rows{rejected}"


def _readable(found: dict[str, Any]) -> dict[str, Any]:
    """What a person wants to see of a dataset: no nested tables, and nothing where there is nothing."""
    shown = {key: value for key, value in found.items() if value not in (None, [], {})}
    if "elements" in shown:
        shown["elements"] = f"{len(shown['elements'])} different"
    if "files" in shown:
        shown["files"] = "; ".join(f"{file['name']}: {file['rows']:,} rows" for file in shown["files"])
    if "notes" in shown:
        shown["notes"] = "; ".join(shown["notes"])
    if "rejections" in shown:
        shown["rejections"] = "; ".join(map(_rejection, shown["rejections"]))
    return {key.replace("_", " "): value for key, value in shown.items()}


def _rejection(rejection: dict[str, Any]) -> str:
    first = ", ".join(map(str, rejection["first_rows"]))
    return f"{rejection['count']:,} rejected: {rejection['reason']} (first rows: {first})"
