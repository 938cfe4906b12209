"""Tables of predictions: a user's columns carried through, the answers beside them, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xtlray.data.read import Table
from xtlray.errors import RequestError

ANSWERS = ("formula", "value", "unit", "spread", "lower", "upper", "warning")


def carry_through(
    table: Table, formulas: Sequence[str | None], answers: Sequence[Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """The answers' columns first, then the table's own, row by row.

    A column of the table that has the name of an answer's is carried as `<name>_input` (once more where the table has
    that too); the one of the formulas is the answer's `formula`.
    """
    columns = {name: [row[name] for row in answers] for name in ANSWERS}
    columns["formula"] = list(formulas)
    for name, carried in carried_names(list(table.columns), table.formula_column()).items():
        columns[carried] = list(table.cells(name))
    return columns


def carried_names(columns: Sequence[str], formulas: str) -> dict[str, str]:
    """What a table's columns but that of the formulas are called beside the answers (see `carry_through`)."""
    names = {}
    for name in columns:
        carried = name
        while carried in ANSWERS or (carried != name and carried in columns):
            carried += "_input"
        if name != formulas:
            names[name] = carried
    return names


def check_output(path: Path) -> Path:
    """`path` itself if a table can be written there. Raises `RequestError` for another ending or no such folder."""
    if not path.name.lower().endswith((".csv", ".csv.gz", ".parquet")):
        raise RequestError(
            "The output's kind is not known",
            got=str(path),
            allowed=".csv, .csv.gz or .parquet",
            fix="choose one of these; or a folder of parts, by a slash at its end",
        )
    if not path.parent.is_dir():
        raise RequestError("There is no such folder to write to", got=str(path.parent), fix="make it first")
    return path


def write_table(columns: Mapping[str, list[Any]], path: Path) -> None:
    """Write a CSV or Parquet file, by the ending of its name; it appears when it is complete.

    Raises:
        RequestError: another ending, or a folder that cannot be written to.
    """
    import pandas as pd

    name = check_output(path).name.lower()
    frame = pd.DataFrame({name: pd.Series(cells, dtype=_dtype(name)) for name, cells in columns.items()})
    # The ending stays, for pandas compresses by it.
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        if name.endswith(".parquet"):
            frame.to_parquet(partial, index=False)
        else:
            frame.to_csv(partial, index=False)
        partial.replace(path)
    except OSError as error:
        raise RequestError("The output cannot be written", got=f"{path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _dtype(name: str) -> str:
    return "float64" if name in ("value", "spread", "lower", "upper") else "object"
