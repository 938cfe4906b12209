"""Read a user's table, CSV (also gzipped) or Parquet, without changing a character of its formulas.

Every cell of a CSV stays text here: `NaN` is sodium nitride, `NA` is not "missing". What is no table at all (a
folder, a picture, a line with a cell too many, two columns of one name) is refused with one clear error.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xtlray.data.numbers import numbers
from xtlray.errors import RequestError

FORMULA_NAMES = (
    "formula", "composition", "reduced_formula", "pretty_formula", "formula_pretty", "chemical_formula",
)  # fmt: skip
"""Column names taken for the formulas', whatever their case; `formula` goes before the others."""

GZIP, PARQUET, ZIP = b"\x1f\x8b", b"PAR1", b"PK\x03\x04"
_SOME = 1000  # rows looked at to tell whether a column of text holds numbers


@dataclass(frozen=True)
class Table:
    """A file as it was read.

    Attributes:
        path: where it lies, or its URL.
        columns: by name, in the file's order: a list of texts (CSV), or a pyarrow column (Parquet).
        sha256: of the file's bytes.
    """

    path: Path | str
    columns: dict[str, Any]
    sha256: str

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def formulas(self, column: str | None = None) -> list[str | None]:
        """The column of formulas, as text (None only where a Parquet file holds a null).

        Args:
            column: its name; None looks for one of `FORMULA_NAMES`.

        Raises:
            RequestError: there is no such column, more than one, or it does not hold text.
        """
        name = self.formula_column(column)
        cells = self.columns[name]
        if isinstance(cells, list):
            return cells
        import pyarrow as pa

        kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise RequestError(
                f"The column {name!r} of formulas does not hold text",
                got=f"{cells.type} in {self.path}",
                allowed="text",
            )
        return cells.to_pylist()

    def formula_column(self, column: str | None = None) -> str:
        """The name of the column of formulas (see `formulas`)."""
        if column is not None:
            return self._known(column, "--formula-column")
        by_lower: dict[str, list[str]] = {}
        for name in self.columns:
            by_lower.setdefault(name.strip().lower().replace(" ", "_"), []).append(name)
        found = by_lower.get("formula") or [name for known in FORMULA_NAMES for name in by_lower.get(known, [])]
        if len(found) != 1:
            raise RequestError(
                "No column is plainly that of the formulas" if not found else "More than one column may hold formulas",
                got=f"the columns {self._names()} in {self.path}",
                allowed="one column named " + ", ".join(FORMULA_NAMES),
                fix="name it with --formula-column",
            )
        return found[0]

    def target_column(self, formula_column: str, column: str | None = None) -> str:
        """The name of the column of target values: the only other one, or the only other one that holds numbers.

        Columns without a name (row numbers, as pandas writes them) do not count.

        Raises:
            RequestError: there is no such column, or more than one.
        """
        if column is not None:
            return self._known(column, "--target-column")
        others = [n for n in self.columns if n != formula_column and n.strip() and not n.startswith("Unnamed: ")]
        numeric = others if len(others) == 1 else [n for n in others if _holds_numbers(self.columns[n])]
        if len(numeric) != 1:
            raise RequestError(
                "No column holds the target" if not numeric else "More than one column may be the target",
                got=f"the columns {self._names()} in {self.path}"
                + (f", of which {', '.join(map(repr, numeric))} hold numbers" if numeric else ""),
                allowed="one column of numbers beside the formulas",
                fix="name it with --target-column",
            )
        return numeric[0]

    def cells(self, column: str) -> Sequence[Any]:
        """The cells of a column as Python values, None for a Parquet null."""
        cells = self.columns[column]
        return cells if isinstance(cells, list) else cells.to_pylist()

    def _known(self, column: str, option: str) -> str:
        if column not in self.columns:
            raise RequestError(
                f"{self.path} has no column of that name", got=repr(column), allowed=self._names(), fix=f"mend {option}"
            )
        return column

    def _names(self) -> str:
        return ", ".join(map(repr, self.columns))


def read_table(path: str | Path, *, may_be_empty: bool = False) -> Table:
    """Read the file at `path`; what it is, its first bytes tell.

    Args:
        path: a CSV, gzipped or not, or a Parquet file.
        may_be_empty: whether a header without rows is fine.

    Raises:
        RequestError: it is missing, a folder, empty, neither CSV nor Parquet, or a broken one.
    """
    path = Path(path)
    data = _bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith(PARQUET):
        columns = _parquet(path, data)
    elif path.suffix.lower() in (".parquet", ".pq"):
        raise broken(path, "its name says Parquet, its first bytes do not")
    else:
        columns = _csv(path, _ungzipped(path, data))
    if not columns or not (may_be_empty or len(next(iter(columns.values())))):
        raise RequestError("The file holds no rows", got=str(path), fix="give one with a header line and rows below it")
    return Table(path, columns, digest)


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RequestError("There is no such file", got=str(path)) from None
    except IsADirectoryError:
        raise RequestError("A file is needed, this is a folder", got=str(path), fix="name a file in it") from None
    except (OSError, ValueError) as error:
        raise RequestError("The file cannot be read", got=f"{path}: {getattr(error, 'strerror', error)}") from error
    if not data:
        raise RequestError("The file is empty", got=str(path))
    return data


def _ungzipped(path: Path, data: bytes) -> bytes:
    if not data.startswith(GZIP):
        if path.suffix.lower() == ".gz":
            raise broken(path, "its name says gzip, its first bytes do not")
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise broken(path, f"the gzip stream is cut off or damaged ({error})") from error


def _parquet(path: Path, data: bytes) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise broken(path, f"not a readable Parquet file ({str(error).splitlines()[0]})") from error
    check_names(path, table.column_names)
    return dict(zip(table.column_names, table.columns, strict=True))


def _csv(path: Path, data: bytes) -> dict[str, list[str]]:
    rows = list(csv_rows(path, io.StringIO(_decoded(path, data), newline="")))
    header, rows = (rows[0], rows[1:]) if rows else ([], [])
    check_names(path, header)
    columns = zip(*rows, strict=True) if rows else ((),) * len(header)
    return {name: list(cells) for name, cells in zip(header, columns, strict=True)}


def csv_rows(path: Path | str, lines: Iterable[str], width: int | None = None) -> Iterator[list[str]]:
    """The rows of a CSV, the header first; a blank line is no row.

    Args:
        path: of the file, for messages.
        lines: with their ends.
        width: how many cells a row has; None takes the first row for the header.

    Raises:
        RequestError: these are no lines of a CSV with commas, or a row has other cells than the header.
    """
    reader = csv.reader(lines, strict=True)
    names = ""
    try:
        for row in reader:
            if not row:
                continue
            if width is None:
                check_separator(path, row)
                width, names = len(row), f": {', '.join(map(repr, row))}"
            elif len(row) != width:
                raise RequestError(
                    "A line of the CSV does not have as many cells as the header",
                    got=f"{len(row)} in line {reader.line_num} of {path}",
                    allowed=f"{width}{names}",
                    fix="quote cells that hold a comma",
                )
            yield row
    except csv.Error as error:
        raise broken(path, f"line {reader.line_num} is not CSV ({error})") from error


def _decoded(path: Path, data: bytes) -> str:
    if data.startswith(ZIP):
        raise broken(path, "it is a zip archive or an Excel workbook")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    if "\0" in text:
        raise broken(path, "it is binary, or text in UTF-16")
    return text


def not_utf8(path: Path | str, error: UnicodeDecodeError, before: int = 0) -> RequestError:
    """The error for a file that is no text; `before`: the bytes of it that were decoded before."""
    return RequestError(
        "The file is not text in UTF-8",
        got=f"byte {error.object[error.start]:#04x} at position {before + error.start} of {path}",
        allowed="CSV in UTF-8 (also gzipped), or Parquet",
        fix="save it as CSV in UTF-8",
    )


def check_separator(path: Path | str, header: list[str]) -> None:
    """Raises `RequestError` for a header of which something else than commas separates the names."""
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if len(header) == 1 and separator in header[0]:
            raise RequestError(
                f"The columns are separated by {word}",
                got=f"{header[0]!r} in {path}",
                allowed="commas",
                fix="save it with commas between the columns and points in the numbers",
            )


def check_names(path: Path | str, names: list[str]) -> None:
    """Raises `RequestError` where two columns have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RequestError(
            "Two columns have one name", got=f"{', '.join(map(repr, twice))} in {path}", fix="rename one of them"
        )


def _holds_numbers(cells: Any) -> bool:
    """Whether most of the first cells are numbers."""
    if not isinstance(cells, list):
        import pyarrow as pa

        kind = cells.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return True
        cells = [cell for cell in cells[:_SOME].to_pylist() if isinstance(cell, str)]
    some = [cell for cell in cells[:_SOME] if cell.strip()]
    values, _ = numbers(some)
    return bool(some) and 2 * np.isfinite(values).sum() > len(some)


def broken(path: Path | str, why: str) -> RequestError:
    """The error for a file that is no table that can be read."""
    return RequestError(
        "The file is neither CSV nor Parquet that can be read",
        got=f"{path}: {why}",
        allowed="CSV in UTF-8 (also gzipped), or Parquet",
        fix="save it as one of these",
    )
