"""What test rows share with the rows that were trained on, and what no model of compositions can do better.

Two rows are one composition if their atomic fractions agree to 5 decimals. Published splits cut by row, so that many a
test row has a twin, a polymorph as a rule, among the training rows.

Shape suffixes: B rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from xtlray.chem.formula import Compositions, composition_keys
from xtlray.data import shards
from xtlray.data.dataset import Dataset
from xtlray.records import Split


def trained_keys(dataset: Dataset) -> frozenset[bytes]:
    """The compositions of a dataset's training and validation rows: what a model of it, or its choice, has seen."""
    return frozenset(key for split in ("train", "val") for key in composition_keys(dataset.rows(split).compositions))


def keys_tested_on(datasets: Iterable[Dataset]) -> frozenset[bytes]:
    """The compositions of the datasets' test rows; one without test rows adds none."""
    return frozenset(key for each in datasets for key in composition_keys(each.rows("test").compositions))


def rows_among(dataset: Dataset, split: Split, keys: Collection[bytes]) -> int:
    """How many rows of `split` have one of these compositions. Shard by shard: it may be bigger than the memory."""
    return sum(int(among(shards.read(data, part, key)[1], keys).sum()) for part, data, key in dataset.parts(split))


def among(compositions: Compositions, keys: Collection[bytes]) -> NDArray[np.bool_]:
    """Which rows have one of these compositions, bool B."""
    return np.array([key in keys for key in composition_keys(compositions)], bool)


def composition_floor(compositions: Compositions, y_B: NDArray[np.float64]) -> float | None:
    """The lowest MAE that one answer for each composition can have on these rows, in the unit of `y_B`.

    That answer is the median of the composition's rows. None for no rows.
    """
    if not len(y_B):
        return None
    total = sum(float(np.abs(y_B[group] - np.median(y_B[group])).sum()) for group in _groups(compositions))
    return total / len(y_B)


def polymorph_deviation(compositions: Compositions, y_B: NDArray[np.float64]) -> float | None:
    """The mean absolute deviation, from their composition's median, among the rows that share one with another row."""
    groups = [group for group in _groups(compositions) if len(group) > 1]
    if not groups:
        return None
    return float(np.concatenate([np.abs(y_B[group] - np.median(y_B[group])) for group in groups]).mean())


def _groups(compositions: Compositions) -> Sequence[list[int]]:
    found: dict[bytes, list[int]] = {}
    for row, key in enumerate(composition_keys(compositions)):
        found.setdefault(key, []).append(row)
    return list(found.values())
