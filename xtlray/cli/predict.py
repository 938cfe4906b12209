"""`xtlray predict`: formulas as arguments, a file in and a file out, or tables of any size in and a folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Context, command
from xtlray.errors import RequestError, WorkError
from xtlray.termination import terminated

if TYPE_CHECKING:
    from xtlray.data.prediction_folder import Manifest, Refusal

_COLUMNS = ["formula", "value", "unit", "spread", "lower", "upper", "warning"]
_TABLES = (".csv", ".csv.gz", ".parquet", ".pq")
_LARGE = 200 << 20  # bytes of a file, of which it is said that it is read as a whole
_SHOWN = 5


@command()
@click.argument("model")
@click.argument("formulas", metavar="FORMULA...", nargs=-1)
@click.option("--property", "wanted", metavar="PROPERTY", help="Which, of a model with several.  [default: its first]")
@click.option(
    "--input",
    "sources",
    multiple=True,
    metavar="FILE",
    help="CSV or Parquet with a column of formulas; or a folder, a pattern, a URL, or several of these.",
)
@click.option("--output", metavar="FILE|FOLDER/", help="A .csv or .parquet, or a folder or URL; default: print.")
@click.pass_obj
def predict(
    ctx: Context,
    model: str,
    formulas: tuple[str, ...],
    wanted: str | None,
    sources: tuple[str, ...],
    output: str | None,
) -> None:
    """Predict a property: value, unit, spread over the model's members, and a warning where there is one.

    One file in and one file out is read as a whole. Where --output is a folder (it ends in a slash) or a URL, or
    --input names several files, the answers come as a folder of Parquet files, in constant memory, by all cores; given
    again after an interruption, the same command goes on.
    """
    if sources:  # a pattern that the shell has resolved leaves its further files among the formulas
        sources += tuple(word for word in formulas if _is_table(word))
        formulas = tuple(word for word in formulas if not _is_table(word))
    if bool(formulas) == bool(sources):
        raise RequestError(
            "Predicting needs formulas or a file of them, one of the two",
            got="both" if formulas else "neither",
            fix="xtlray predict MODEL SiO2 TiN, or xtlray predict MODEL --input FILE --output FILE",
        )
    if output and not sources:
        raise RequestError("--output goes with --input", fix="leave it out, or put the formulas into a file")
    if sources and _at_scale(sources, output):
        _predict_folder(ctx, model, wanted, sources, output)
        return
    from xtlray.pipeline import load

    loaded = load(model, ctx.store)
    if sources:
        _predict_file(ctx, loaded, wanted, Path(sources[0]), Path(output) if output else None)
    else:
        _predict_arguments(ctx, loaded, wanted, formulas)


def _is_table(word: str) -> bool:
    return word.lower().endswith(_TABLES)


def _is_folder(output: str) -> bool:
    return "://" in output or output.endswith("/") or Path(output).is_dir()


def _at_scale(sources: tuple[str, ...], output: str | None) -> bool:
    """Whether a folder of parts is wanted, and not one file of answers or rows on stdout."""
    from xtlray.data.sources import several

    return len(sources) > 1 or several(sources[0]) or (output is not None and _is_folder(output))


def _predict_folder(ctx: Context, model: str, wanted: str | None, sources: tuple[str, ...], output: str | None) -> None:
    """A folder of parts; files that are no tables are named at the end, after all others are done."""
    from xtlray.pipeline import predict as predict_at_scale
    from xtlray.ray_session import RaySession

    if output is None or not _is_folder(output) or ("://" in output and _is_table(output)):
        raise RequestError(
            "Predictions for several files, or at a URL, are a folder of Parquet files",
            got=f"--output {output}" if output else "no --output",
            fix="name a folder, with a slash at the end: --output predictions/, or --output s3://bucket/predictions/",
        )
    try:
        with RaySession() as session:
            made = predict_at_scale(ctx.store, model, wanted, sources, output, session)
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or terminated():
            ctx.progress("stopped; what is finished is kept. To go on, give the same command again.")
        raise
    refused = list(dict.fromkeys(each.file for each in made.refused))
    ctx.emit(_summary(made, refused, output), title="Predicted")
    if made.unanswered:
        click.echo(f"{made.unanswered} of {made.rows} formulas could not be answered; `warning` says why", err=True)
    if refused:
        raise _not_read(made, refused)


def _summary(made: Manifest, refused: list[str], output: str) -> dict[str, Any]:
    return {
        "model": made.plan.model,
        "property": made.plan.property,
        "files": len(made.plan.files) - len(refused),
        "rows": made.rows,
        "unanswered": made.unanswered,
        "parts": len(made.parts),
        "output": output,
        "not_read": refused,
    }


def _not_read(made: Manifest, refused: list[str]) -> WorkError:
    """The error that names the files of which something could not be read; the rest is written."""
    first: dict[str, Refusal] = {}
    for each in made.refused:
        first.setdefault(each.file, each)
    reasons = [
        each.reason if each.start is None else f"from row {each.start} on: {each.reason}" for each in first.values()
    ]
    more = f" and {len(refused) - _SHOWN} more, which _manifest.json names" if len(refused) > _SHOWN else ""
    return WorkError(
        f"{len(refused)} of {len(made.plan.files)} input files could not be read; all others are done",
        got="; ".join(reasons[:_SHOWN]) + more,
        fix="mend them, and predict for them into another folder",
    )


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
    if source.is_file() and source.stat().st_size > _LARGE:
        ctx.progress(f"{source} is large and read as a whole; with a folder as --output, memory would not grow with it")
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
