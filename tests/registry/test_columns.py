"""Columns by their buffers: what goes in comes out, missing values and slices too; pandas stays out of it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xtlray.registry import columns

VALUES: list[tuple[Any, list[Any]]] = [
    (columns.TEXT, ["Fe", None, "", "Å³/atom", "Fe"]),
    (columns.WHOLE, [1, None, 0, 2**62, 1]),
    (columns.REAL, [0.5, None, 0.0, -1e300, 3.0]),
    (columns.TRUTH, [True, None, False, True, True]),
]


@pytest.mark.parametrize(("kind", "values"), VALUES)
def test_a_column_is_what_pyarrow_makes_of_it(kind: Any, values: list[Any]) -> None:
    made = columns.column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    assert columns.column([], kind).equals(pa.array([], kind))


@pytest.mark.parametrize(("start", "length"), [(0, 5), (1, 3), (4, 1), (2, 0)])
@pytest.mark.parametrize("chunks", [1, 2])
def test_what_is_read_of_columns_and_of_slices(start: int, length: int, chunks: int) -> None:
    names = ["text", "whole", "real", "truth"]
    whole = pa.table({name: pa.array(values, kind) for name, (kind, values) in zip(names, VALUES, strict=True)})
    table = pa.concat_tables([whole] * chunks).slice(start, length)
    _, expected = "", table.to_pydict()
    assert columns.there(table["text"]).tolist() == [value is not None for value in expected["text"]]
    assert columns.wholes(table["whole"]).tolist() == [-1 if v is None else v for v in expected["whole"]]
    assert columns.truths(table["truth"]).tolist() == [bool(value) for value in expected["truth"]]
    reals = columns.reals(table["real"])
    assert [None if np.isnan(value) else value for value in reals] == expected["real"]
    codes, distinct = columns.codes(table["text"])
    assert [None if code < 0 else distinct[code] for code in codes] == expected["text"]
    assert len(distinct) == len(set(distinct))


def test_rows_are_picked_and_taken() -> None:
    table = pa.table({"a": pa.array([10, 11, 12])})
    assert columns.picked(table, np.array([True, False, True]))["a"].to_pylist() == [10, 12]
    assert columns.picked(table, np.array([True] * 3)) is table
    assert columns.taken(table, np.array([2, 0]))["a"].to_pylist() == [12, 10]
    assert len(columns.empty(table.schema)) == 0


def test_a_search_imports_neither_pandas_nor_torch() -> None:
    """They take longer than the search."""
    code = (
        "import sys, tempfile\n"
        "from xtlray.registry.conditions import Query\n"
        "from xtlray.registry.search import search\n"
        "from xtlray.store import Store\n"
        "assert search(Store.open(tempfile.mkdtemp()), Query('band')).rows()\n"
        "print(sorted({'pandas', 'torch', 'ray', 'pydantic'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
