"""Columns of Arrow tables from and to numpy and Python, by their buffers.

pyarrow's own conversions import pandas where it is installed, which takes longer than searching 100,000 models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Truths = npt.NDArray[np.bool_]
Wholes = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

TEXT, WHOLE, REAL, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of Python's values, None where one is missing.

    Args:
        values: of the type that belongs to the kind.
        kind: `TEXT`, `WHOLE`, `REAL` or `TRUTH`.
    """
    there = np.fromiter((value is not None for value in values), np.bool_, len(values))
    if kind == TEXT:
        encoded = [b"" if value is None else value.encode() for value in values]
        ends = np.zeros(len(values) + 1, np.int32)
        np.cumsum([len(each) for each in encoded], out=ends[1:])
        buffers = [pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    else:
        kinds = {WHOLE: np.int64, REAL: np.float64, TRUTH: np.bool_}
        filled: np.ndarray = np.array([0 if value is None else value for value in values], kinds[kind])
        buffers = [_bits(filled) if kind == TRUTH else pa.py_buffer(filled)]
    return pa.Array.from_buffers(kind, len(values), [_bits(there), *buffers])


def empty(schema: pa.Schema) -> pa.Table:
    """A table without rows."""
    return pa.table({field.name: column([], field.type) for field in schema}, schema=schema)


def picked(table: pa.Table, which: Truths) -> pa.Table:
    """The rows of a table for which it is true."""
    return table if which.all() else table.filter(pa.Array.from_buffers(TRUTH, len(which), [None, _bits(which)]))


def taken(table: pa.Table, rows: Wholes) -> pa.Table:
    """Rows of a table by their places, in that order."""
    data = pa.py_buffer(np.ascontiguousarray(rows, np.int64))
    return table.take(pa.Array.from_buffers(WHOLE, len(rows), [None, data]))


def there(values: pa.ChunkedArray) -> Truths:
    """Where a column has a value."""
    return _valid(_whole(values))


def truths(values: pa.ChunkedArray) -> Truths:
    """A column of `TRUTH`; what is missing is false."""
    array = _whole(values)
    return _unpacked(array.buffers()[1], array) & _valid(array)


def wholes(values: pa.ChunkedArray) -> Wholes:
    """A column of `WHOLE`; what is missing is -1."""
    array = _whole(values)
    return np.where(_valid(array), _numbers(array, np.int64), -1)


def reals(values: pa.ChunkedArray) -> Reals:
    """A column of numbers; what is missing is NaN."""
    array = _whole(values)
    numbers = _numbers(array, np.float64 if array.type == REAL else np.int64)
    return np.where(_valid(array), numbers, np.nan)


def codes(values: pa.ChunkedArray) -> tuple[Wholes, list[str]]:
    """Of a column of `TEXT` the place of each value among the distinct ones, -1 for what is missing; and those."""
    encoded = _whole(values).dictionary_encode()
    array = encoded.indices
    return np.where(_valid(array), _numbers(array, np.int32), -1).astype(np.int64), encoded.dictionary.to_pylist()


def _whole(values: pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)


def _numbers(array: pa.Array, kind: Any) -> np.ndarray:
    data = array.buffers()[1]
    if data is None or len(array) == 0:
        return np.zeros(len(array), kind)
    return np.frombuffer(data, kind)[array.offset : array.offset + len(array)]


def _valid(array: pa.Array) -> Truths:
    bits = array.buffers()[0]
    return np.ones(len(array), np.bool_) if bits is None or array.null_count == 0 else _unpacked(bits, array)


def _unpacked(bits: pa.Buffer, array: pa.Array) -> Truths:
    if bits is None or len(array) == 0:
        return np.zeros(len(array), np.bool_)
    packed = np.frombuffer(bits, np.uint8)
    return np.unpackbits(packed, bitorder="little")[array.offset : array.offset + len(array)].astype(np.bool_)


def _bits(values: Truths) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))
