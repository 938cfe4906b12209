"""The input of a model's members: elemental fractions, and behind them the physical attributes where they are wanted.

Attributes cost a millisecond a row, so those of a dataset are worked out once and kept in the store beside it:
`datasets/<source>/<property>/<data hash>/attributes/<recipe>-<split>.parquet`.

Shape suffixes: B rows, F elemental fractions, A attributes, X = F or F + A.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xtlray.chem.attributes import COUNT, attributes, names, recipe
from xtlray.chem.formula import Compositions, composition_keys
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Rows
from xtlray.errors import StoreError
from xtlray.store import Store

log = logging.getLogger("xtlray.data")


@dataclass(frozen=True)
class InputEncoder:
    """Makes inputs, float32 B × X.

    Attributes:
        fractions: says which elements there are.
        attributes: whether physical attributes are wanted.
        store: where those of datasets are kept; None keeps none.
        processes: that work them out.
        known: attributes by composition, worked out or read before: datasets of one source share most compositions.
    """

    fractions: FractionEncoder = field(default_factory=FractionEncoder)
    attributes: bool = False
    store: Store | None = None
    processes: int = 1
    known: dict[bytes, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def width(self) -> int:
        """X."""
        return len(self.fractions.elements) + (COUNT if self.attributes else 0)

    def encode(self, compositions: Compositions) -> np.ndarray:
        """The input of compositions that the fractions' encoder can encode."""
        x_BF = self.fractions.encode(compositions)
        return np.concatenate([x_BF, attributes(compositions)], axis=1) if self.attributes else x_BF

    def widen(self, x_BF: np.ndarray, rows: Rows, kept: np.ndarray) -> np.ndarray:
        """The input of those rows of a dataset whose places are `kept` and whose fractions are `x_BF`."""
        if not self.attributes:
            return x_BF
        return np.concatenate([x_BF, self._kept(rows)[kept]], axis=1)

    def _kept(self, rows: Rows) -> np.ndarray:
        """The attributes of all rows of a split, from beside the dataset or, the first time, to be kept there."""
        card = rows.dataset.card
        key = f"datasets/{card.name}/{card.data_hash}/attributes/{recipe()}-{rows.split}.parquet"
        keys = composition_keys(rows.compositions)
        if self.store is not None and self.store.exists(key):
            found = _read(self.store.get(key), len(rows), key)
            self.known.update(zip(keys, found, strict=True))
            return found
        # Elements that no net of ours knows may not be in matminer's tables either.
        able = self.fractions.encodable(rows.compositions)
        new = np.array([ok and name not in self.known for ok, name in zip(able, keys, strict=True)], bool)
        if new.any():
            log.info("working out the physical attributes of %d %s rows of %s", new.sum(), rows.split, card.name)
            fresh = attributes(rows.compositions.take(new), self.processes)
            self.known.update(zip([keys[i] for i in np.flatnonzero(new)], fresh, strict=True))
        found = np.full((len(rows), COUNT), np.nan, np.float32)
        for row in np.flatnonzero(able):
            found[row] = self.known[keys[row]]
        if self.store is not None:
            self.store.create(key, _pack(found))
        return found


def _pack(found_BA: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(zip(names(), found_BA.T, strict=True))), buffer, compression="zstd")
    return buffer.getvalue()


def _read(data: bytes, rows: int, key: str) -> np.ndarray:
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise StoreError("Physical attributes are damaged", got=f"{key}: {error}", fix="remove the file") from error
    if table.column_names != names() or table.num_rows != rows:
        raise StoreError(
            "Physical attributes are not those of their dataset",
            got=f"{key}: {table.num_rows} rows of {table.num_columns} attributes",
            allowed=f"{rows} rows of {COUNT}",
            fix="remove the file",
        )
    return np.stack([column.to_numpy() for column in table.columns], axis=1).astype(np.float32, copy=False)
