"""`xtlray predict`: formulas as arguments, or a file in and a file out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xtlray.cli.common import Context, command
from xtlray.errors import RequestError

_COLUMNS = ["formula", "value", "unit", "spread", "lower", "upper", "warning"]


@command()
@click.argument("model")
@click.argument("formulas", metavar="FORMULA...", nargs=-1)
@click.option("--property", "wanted", metavar="PROPERTY", help="Which, of a model with several.  [default: its first]")
@click.option("--input", "source", type=click.Path(path_type=Path), help="CSV or Parquet with a column of formulas.")
@click.option("--output", type=click.Path(path_type=Path), help="Where to write, .csv or .parquet; default: print.")
@click.pass_obj
def predict(
    ctx: Context,
    model: str,
    formulas: tuple[str, ...],
    wanted: str | None,
    source: Path | None,
    output: Path | None,
) -> None:
    """Predict a property: value, unit, spread over the model's members, and a warning where there is one."""
    from xtlray.pipeline import load

    if bool(formulas) == bool(source):
        raise RequestError(
            "Predicting needs formulas or a file of them, one of the two",
            got="both" if formulas else "neither",
            fix="xtlray predict MODEL SiO2 TiN, or xtlray predict MODEL --input FILE --output FILE",
        )
    if output and not source:
        raise RequestError("--output goes with --input", fix="leave it out, or put the formulas into a file")
    loaded = load(model, ctx.store)
    if source:
        _predict_file(ctx, loaded, wanted, source, output)
    else:
        _predict_arguments(ctx, loaded, wanted, formulas)


def _predict_arguments(ctx: Context, model: Any, wanted: str | None, formulas: tuple[str, ...]) -> None:
    """The good formulas are answered; then one error tells of all the others."""
    rows = model.predictions(formulas, wanted)
    good = [row.as_json() for row in rows if row.value is not None]
    if good or ctx.json:
        ctx.emit(good, _COLUMNS)
    bad = [row for row in rows if row.value is None]
    if bad:
        raise RequestError(
            f"{len(bad)} of {len(rows)} formulas cannot be answered",
            got="; ".join(f"{row.formula!r}: {row.warning}" for row in bad),
            allowed="formulas such as SiO2, Ca(OH)2 or Fe0.5Ni0.5",
            fix="correct them and ask again",
        )


def _predict_file(ctx: Context, model: Any, wanted: str | None, source: Path, output: Path | None) -> None:
    """One row out for each row in, in the same order; a bad formula is a row without value, with its reason."""
    from xtlray.data.predictions import carry_through, check_output, write_table
    from xtlray.data.read import read_table

    if output and output.resolve() == source.resolve():
        raise RequestError("The output would overwrite the input", got=str(output), fix="choose another --output")
    if output:
        check_output(output)  # before the work, not after it
    table = read_table(source, may_be_empty=True)
    formulas = table.formulas()
    rows = model.predictions(formulas, wanted)
    columns = carry_through(table, formulas, [row.as_json() for row in rows])
    if output:
        write_table(columns, output)
        ctx.progress(f"{len(rows)} rows written to {output}")
    else:
        names = list(columns)
        ctx.emit([dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)], names)
    bad = sum(row.value is None for row in rows)
    if bad:
        click.echo(f"{bad} of {len(rows)} formulas could not be answered; `warning` says why", err=True)
