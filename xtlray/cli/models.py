"""`xtlray models`: list, show, verify."""

from __future__ import annotations

from typing import Any

import click

from xtlray.cli.common import Context, group

_OF_A_PROPERTY = ("name", "label", "unit", "rows_train", "metrics")
_COLUMNS = ["model", "aliases", "method", "source", "val_mae", "test_mae", "unit", "members", "run"]


@group()
def models() -> None:
    """Published models: list, show, verify."""


@models.command("list")
@click.pass_obj
def list_(ctx: Context) -> None:
    """All versions of all models, with their errors and aliases."""
    from xtlray.registry.library import list_models

    rows = list_models(ctx.store)
    columns = _COLUMNS
    if any(len(row["properties"] or ()) > 1 for row in rows):
        columns = [columns[0], "property", *columns[1:]]
        if ctx.format == "table":
            rows = [{**row, "property": _first_and_more(row["properties"])} for row in rows]
    columns = [*columns, "problem"] if any(row["problem"] for row in rows) else columns
    ctx.emit(rows, columns, empty="no model is published yet: run a job first")


def _first_and_more(properties: list[str] | None) -> str | None:
    """`oqmd/formation_energy +3`: unit and errors are of the first."""
    if not properties:
        return None
    return properties[0] + (f" +{len(properties) - 1}" if properties[1:] else "")


@models.command()
@click.argument("model")
@click.pass_obj
def show(ctx: Context, model: str) -> None:
    """A model's card: property, method, data, errors, lineage, files."""
    import yaml

    from xtlray.registry.library import describe
    from xtlray.registry.versions import resolve

    card = describe(resolve(ctx.store, model, ctx.progress))
    if ctx.format == "table":
        click.echo(
            yaml.safe_dump(
                _readable(card), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
            ).rstrip()
        )
    else:
        ctx.emit(card)


def _readable(card: dict[str, Any]) -> dict[str, Any]:
    """A card without what only a program reads; `--json` has all of it."""
    seen = [f"{element} {rows}" for element, rows in card["elements_seen"].items()]
    several = [{key: one[key] for key in _OF_A_PROPERTY} for one in card["properties"]]
    if len(several) < 2:  # the only one is what the rest of the card speaks of
        card = {key: value for key, value in card.items() if key != "properties"}
    else:
        card = {**card, "properties": several}
    lineage = [{key: list(v) if isinstance(v, dict) else v for key, v in step.items()} for step in card["lineage"]]
    return {
        **card,
        "lineage": lineage,  # of datasets whose compositions were left out, the names alone
        "elements_encoded": " ".join(card["elements_encoded"]),
        "elements_seen": "training rows that hold each: " + ", ".join(seen),
        "history": f"{len(card['history'])} entries, see --json",
    }


@models.command()
@click.argument("model")
@click.pass_obj
def verify(ctx: Context, model: str) -> None:
    """Hash a model's files again, rebuild it and let it predict."""
    from xtlray.registry.library import verify as check
    from xtlray.registry.versions import resolve

    ctx.emit(check(resolve(ctx.store, model, ctx.progress)))
