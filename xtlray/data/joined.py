"""Several properties as one table: a row per composition, a column per property, NaN where one was not computed.

Compact throughout: the elements of a row as places and fractions (K of them at most), never the dense input.

Shape suffixes: B rows, K most elements in a row, P properties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtlray.chem.formula import Compositions, composition_keys
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset
from xtlray.data.splits import Protocol
from xtlray.records import Split


@dataclass(frozen=True)
class Joined:
    """The rows of one split of several datasets.

    Attributes:
        z_BK: uint8, the encoder's columns of a row's elements.
        f_BK: float32, their atomic fractions; 0 beyond the last element.
        y_BP: float64 targets in each property's unit; NaN where there is none.
        skipped: rows of each dataset that hold an element which the encoder does not know.
        withheld: rows of each dataset left out because of their composition: another one validates or tests on it, or
            it was excluded.
    """

    z_BK: NDArray[np.uint8]
    f_BK: NDArray[np.float32]
    y_BP: NDArray[np.float64]
    skipped: tuple[int, ...]
    withheld: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.z_BK)


def join(
    datasets: Sequence[Dataset], split: Split, encoder: FractionEncoder, excluded: frozenset[bytes] = frozenset()
) -> Joined:
    """Join the rows of `split` by composition (atomic fractions rounded to 5 decimals).

    A composition that one dataset holds several times takes as many rows, the n-th of each property side by side. The
    order is that of the first dataset, then of what the others add. Where datasets are cut by different protocols, a
    composition that one of them validates or tests on is no training row of any. Compositions in `excluded` are left
    out of any split.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    held_out = excluded | held_out_keys(datasets) if split == "train" else excluded
    pieces, values, skipped, withheld = [], [], [], []
    for dataset in datasets:
        rows = dataset.rows(split)
        able = encoder.encodable(rows.compositions)
        kept = able.copy()
        if held_out:
            kept &= np.array([key not in held_out for key in composition_keys(rows.compositions)], bool)
        pieces.append(rows.compositions.take(kept))
        values.append(rows.y_B[kept])
        skipped.append(int((~able).sum()))
        withheld.append(int((able & ~kept).sum()))
    found = Compositions.concatenate(pieces)
    row_of, first = _rows_of(found, [len(piece) for piece in pieces])
    y_BP = np.full((len(first), len(datasets)), np.nan)
    start = 0
    for p, value_B in enumerate(values):
        y_BP[row_of[start : start + len(value_B)], p] = value_B
        start += len(value_B)
    return Joined(*compact(found.take(first), encoder), y_BP, tuple(skipped), tuple(withheld))


def held_out_keys(datasets: Sequence[Dataset]) -> frozenset[bytes]:
    """The compositions that some dataset validates or tests on, where another might train on them."""
    if len(datasets) < 2 or all(dataset.card.split_protocol == Protocol.POOL for dataset in datasets):
        return frozenset()  # pools are cut alike
    sides = [dataset.rows(split) for dataset in datasets for split in ("val", "test")]
    return frozenset(key for rows in sides for key in composition_keys(rows.compositions))


def _rows_of(found: Compositions, lengths: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The joined row of each entry, and the first entry of each joined row."""
    if len(lengths) == 1:  # each entry is a row: no dictionary of millions of compositions
        return np.arange(len(found)), np.arange(len(found))
    codes: dict[tuple[bytes, int], int] = {}
    row_of = np.empty(len(found), np.int64)
    first: list[int] = []
    keys, i = composition_keys(found), 0
    for length in lengths:
        seen: dict[bytes, int] = {}
        for key in keys[i : i + length]:
            nth = seen[key] = seen.get(key, -1) + 1
            row = codes.setdefault((key, nth), len(codes))
            if row == len(first):
                first.append(i)
            row_of[i] = row
            i += 1
    return row_of, np.array(first, np.int64)


def compact(found: Compositions, encoder: FractionEncoder) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Places (uint8) and fractions (float32) of the elements of each row, B × K, filled up with zeros.

    Every element must have a column in the encoder.
    """
    counts = found.counts
    width = int(counts.max(initial=1))
    place = found.rows() * width + np.arange(len(found.z)) - np.repeat(found.offsets[:-1], counts)
    z_BK, f_BK = np.zeros((len(found), width), np.uint8), np.zeros((len(found), width), np.float32)
    z_BK.reshape(-1)[place] = encoder.columns(found)
    f_BK.reshape(-1)[place] = found.fraction
    return z_BK, f_BK
