"""A dataset version as files: Parquet shards in one canonical order, and the hashes that name their rows.

The same rows give the same hash by whatever route and in whatever order they came. Each shard holds rows of one
split, with the composition beside the formula, so that loading needs no parser: B rows, N elements over all of them.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xtlray.chem.formula import Compositions
from xtlray.errors import StoreError
from xtlray.records import SPLITS, Part, Split

ROWS_PER_PART = 65_536
SPLIT_ID_LENGTH = 12
COLUMNS = {  # of a shard, and their types; see `_type`
    "split": "string",
    "formula": "string",
    "value": "double",
    "z": "list of uint8",
    "fraction": "list of float",
}


@dataclass(frozen=True)
class KeptRows:
    """The kept rows of a dataset, one entry per row in each field.

    Attributes:
        split: pyarrow strings, "train", "val" or "test".
        formula: pyarrow strings.
        value: float64, in the dataset's unit.
        compositions: of the formulas.
    """

    split: pa.Array
    formula: pa.Array
    value: np.ndarray
    compositions: Compositions

    def __len__(self) -> int:
        return len(self.value)

    @classmethod
    def canonical(cls, side_B: np.ndarray, formulas: list[str], value_B: np.ndarray, found: Compositions) -> KeptRows:
        """Rows in canonical order: by split name, then formula (as UTF-8), then value.

        Args:
            side_B: places in `records.SPLITS`.
            formulas: texts.
            value_B: finite, in the unit.
            found: the formulas' compositions.
        """
        split = pa.array(SPLITS).take(pa.array(side_B))
        formula = pa.array(formulas, pa.string())
        table = pa.table({"split": split, "formula": formula, "value": value_B})
        order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in table.column_names])
        index = order.to_numpy()
        return cls(split.take(order), formula.take(order), value_B[index], found.take(index))

    def of(self, *splits: Split) -> np.ndarray:
        """bool [B]: the rows of these splits."""
        return pc.is_in(self.split, value_set=pa.array(splits, pa.string())).to_numpy(zero_copy_only=False)

    def data_hash(self) -> str:
        """SHA-256 over split, formula and value (little-endian float64) of every row."""
        return self._digest(np.ones(len(self), bool))

    def split_id(self) -> str:
        """A short SHA-256 over the validation and test rows: errors may be compared only under the same one."""
        return self._digest(self.of("val", "test"))[:SPLIT_ID_LENGTH]

    def _digest(self, mask_B: np.ndarray) -> str:
        chosen = pa.array(mask_B)
        value_bytes = self.value[mask_B].astype("<f8").tobytes()
        values = pa.Array.from_buffers(pa.binary(8), len(value_bytes) // 8, [None, pa.py_buffer(value_bytes)])
        columns = [self.split.filter(chosen), self.formula.filter(chosen), values]
        zero = pa.scalar(b"\0", pa.large_binary())
        joined = pc.binary_join_element_wise(*(column.cast(pa.large_binary()) for column in columns), zero)
        return hashlib.sha256(joined.buffers()[2] if len(joined) else b"").hexdigest()


def write(rows: KeptRows) -> tuple[dict[str, bytes], list[Part]]:
    """The shards of `rows` (in canonical order) as file contents by name, and their entries for the card."""
    files: dict[str, bytes] = {}
    parts: list[Part] = []
    for split in sorted(SPLITS):
        index = np.flatnonzero(rows.of(split))
        for start in range(0, len(index), ROWS_PER_PART):
            chosen = index[start : start + ROWS_PER_PART]
            name = f"part-{len(parts):05d}.parquet"
            files[name] = _shard(rows, chosen)
            digest = hashlib.sha256(files[name]).hexdigest()
            parts.append(Part(file=name, split=split, rows=len(chosen), sha256=digest))
    return files, parts


def _shard(rows: KeptRows, index: np.ndarray) -> bytes:
    found = rows.compositions.take(index)
    offsets = pa.array(found.offsets.astype(np.int32))
    table = pa.table(
        {
            "split": rows.split.take(pa.array(index)).dictionary_encode(),
            "formula": rows.formula.take(pa.array(index)),
            "value": rows.value[index],
            "z": pa.ListArray.from_arrays(offsets, pa.array(found.z)),
            "fraction": pa.ListArray.from_arrays(offsets, pa.array(found.fraction.astype(np.float32))),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=9)
    return sink.getvalue()


def read(data: bytes, part: Part, where: str) -> tuple[np.ndarray, Compositions]:
    """The values (float64 [B]) and compositions (float32 fractions) of one shard.

    Args:
        data: its bytes.
        part: its entry in the card.
        where: its key, for the message.

    Raises:
        StoreError: the bytes are not those that the card speaks of, or hold something else than rows of a dataset.
    """
    table = _table(data, part, where, ["value", "z", "fraction"])
    value_B, z, fraction = table["value"].to_numpy(), _flat(table["z"]), _flat(table["fraction"])
    if not np.isfinite(value_B).all():
        raise _refusal("holds values that are no numbers", where, f"{(~np.isfinite(value_B)).sum()} of them")
    if not np.array_equal(z[0], fraction[0]):
        raise _refusal("holds elements without fractions, or fractions without elements", where, "z against fraction")
    return value_B, Compositions(z[0], z[1], fraction[1])


def read_formulas(data: bytes, part: Part, where: str) -> list[str]:
    """The formulas of one shard, in the order of `read`. Raises `StoreError` as `read` does."""
    return _table(data, part, where, ["formula"])["formula"].to_pylist()


def _table(data: bytes, part: Part, where: str, columns: list[str]) -> Any:
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise _refusal("is damaged", where, f"{len(data):,} bytes, whose SHA-256 is not the one in the card")
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            differs = _differences(file.schema_arrow)
            if differs:
                raise _refusal("has another schema", where, differs)
            if file.metadata.num_rows != part.rows:
                rows = f"{file.metadata.num_rows:,} rows, and the card speaks of {part.rows:,}"
                raise _refusal("has another number of rows", where, rows)
            table = file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        what = "cannot be read as Parquet" if data else "is empty"
        raise _refusal(what, where, f"{len(data):,} bytes: {str(error).splitlines()[0]}") from error
    if not len(table):
        raise _refusal("is empty", where, "no rows")
    missing = [f"{table[name].null_count:,} in {name}" for name in columns if table[name].null_count]
    if missing:
        raise _refusal("has gaps", where, f"nulls: {', '.join(missing)}")
    return table


def _differences(schema: pa.Schema) -> str:
    """How a shard's columns differ from `COLUMNS`, in words; empty where they do not."""
    found = {name: _type(schema.field(name).type) for name in schema.names}
    words = [f"{name} is missing" for name in COLUMNS if name not in found]
    words += [f"{name} is {found[name]}, not {kind}" for name, kind in COLUMNS.items() if found.get(name, kind) != kind]
    return "; ".join([*words, *(f"{name} does not belong there" for name in found if name not in COLUMNS)])


def _type(kind: pa.DataType) -> str:
    """A column's type in one spelling, however its strings are encoded and its lists' items are called."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind):
        inner = _type(kind.value_type)
        return f"list of {inner}" if pa.types.is_list(kind) else inner
    return str(kind)


def _refusal(what: str, where: str, got: str) -> StoreError:
    fix = "remove the dataset's folder and fetch or ingest it again"
    return StoreError(f"A shard of a dataset {what}", got=f"{where}: {got}", fix=fix)


def _flat(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (int64, from 0) and values of a column of lists."""
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], lists.values.to_numpy()[offsets[0] : offsets[-1]]
