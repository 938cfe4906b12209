"""What commands answer: a table for people, Markdown for their pages, CSV for spreadsheets or JSON for programs.

One rule for all commands: JSON is one array or object, with `null` where a figure is missing and never `NaN`, which
is not JSON; a table shows four significant digits and is never cut where it does not go to a terminal.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Columns = Sequence[str] | Mapping[str, str]


def plain(value: Any) -> Any:
    """`value` in types that JSON knows; NaN and infinities become None, numpy scalars and arrays numbers and lists."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "as_json"):  # our records
        return plain(value.as_json())
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)  # what a user's Parquet file may hold: decimals, durations


def as_json(answer: Any) -> str:
    """One JSON array or object, indented."""
    value = plain(answer)
    if isinstance(value, list) and value and all(map(_is_flat, value)):
        # Many rows: the same text as below, of which Python's fast encoder makes a row at a time.
        rows = (json.dumps(row, separators=(",\n    ", ": "), ensure_ascii=False, allow_nan=False) for row in value)
        return "[\n  " + ",\n  ".join(f"{{\n    {row[1:-1]}\n  }}" for row in rows) + "\n]"
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def _is_flat(row: Any) -> bool:
    return isinstance(row, dict) and bool(row) and not any(isinstance(value, (dict, list)) for value in row.values())


def as_csv(answer: Mapping[str, Any] | Iterable[Mapping[str, Any]], columns: Columns | None = None) -> str:
    """A header and one line per row: `columns` first, then whatever else the rows hold. Full precision."""
    rows = _rows(answer)
    names = list(columns or ())
    names += [name for name in dict.fromkeys(name for row in rows for name in row) if name not in names]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if names:
        writer.writerow(names)
    writer.writerows([_csv_cell(row.get(name)) for name in names] for row in rows)
    return buffer.getvalue().rstrip("\n")


def as_markdown(
    answer: Mapping[str, Any] | Iterable[Mapping[str, Any]], columns: Columns | None = None, title: str | None = None
) -> str:
    """A table in Markdown, with what `as_table` would show."""
    rows = _rows(answer)
    shown = _headings(rows, columns)
    if isinstance(answer, Mapping):
        lines = [["name", "value"], ["---", "---"], *([name, cell(rows[0].get(key))] for key, name in shown.items())]
    else:
        numeric = {key: any(_is_number(row.get(key)) for row in rows) for key in shown}
        lines = [[*shown.values()], ["---:" if numeric[key] else "---" for key in shown]]
        lines += [[cell(row.get(key)) for key in shown] for row in rows]
    table = "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)
    return f"{_escaped(title)}\n\n{table}" if title else table


def _escaped(text: str) -> str:
    """A text that Markdown takes as it is: on one line, in one cell, no mark-up, and nothing that steers a terminal."""
    plain_text = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(plain_text.split()))


def as_table(
    answer: Mapping[str, Any] | Iterable[Mapping[str, Any]], columns: Columns | None = None, title: str | None = None
) -> str:
    """A table for people. A mapping is shown as two columns, name and value.

    Args:
        answer: rows, or one mapping.
        columns: which keys to show in which order (all by default); a mapping gives each its heading.
        title: a line above the table.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = _rows(answer)
    single = isinstance(answer, Mapping)
    shown = _headings(rows, columns)
    table = Table(box=box.SIMPLE_HEAD, show_header=not single, pad_edge=False)
    if single:
        table.add_column()
        table.add_column(overflow="fold")
        for key, heading in shown.items():
            table.add_row(Text(heading), Text(cell(rows[0].get(key))))
    else:
        for key, heading in shown.items():
            numeric = any(_is_number(row.get(key)) for row in rows)
            table.add_column(Text(heading), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell(row.get(key))) for key in shown))
    # Elsewhere than on a terminal nobody can widen the window, so nothing may be folded there.
    width = None if sys.stdout.isatty() else 10_000
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    if title:
        console.print(Text(title))
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def cell(value: Any) -> str:
    """One value for people: floats to four significant digits, nothing for None, mappings and lists in short."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value)
    return str(value)


def number(value: float) -> str:
    """Four significant digits, without an exponent between 0.0001 and a million: 0.06432, 164700, 1.2e-07."""
    short = f"{value:.4g}"
    return f"{float(short):.0f}" if "e" in short and 1 <= abs(value) < 1e6 else short


def _rows(answer: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(answer, Mapping):
        return [dict(answer)]
    rows = [item if isinstance(item, Mapping) else plain(item) for item in answer]
    return [dict(row) for row in rows]


def _headings(rows: list[dict[str, Any]], columns: Columns | None) -> dict[str, str]:
    """Keys and headings of what is shown."""
    every = columns or list(dict.fromkeys(key for row in rows for key in row))
    return dict(every) if isinstance(every, Mapping) else {name: name for name in every}


def _csv_cell(value: Any) -> Any:
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _is_number(value: Any) -> bool:
    return isinstance(plain(value), (int, float)) and not isinstance(value, bool)
