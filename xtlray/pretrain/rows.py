"""The rows of a worker: all of them in memory, or a stream, whichever its memory allows.

Shape suffixes: B rows, P properties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from xtlray.chem.fractions import ELEMNET_ELEMENTS, FractionEncoder
from xtlray.data.dataset import Dataset, open_dataset
from xtlray.data.joined import Joined, join
from xtlray.data.loader import Choice, Loader
from xtlray.data.overlap import keys_tested_on
from xtlray.data.stream import Source, Survey, survey
from xtlray.errors import WorkError
from xtlray.nn.scaler import TargetScaler
from xtlray.pretrain.stream_feed import StreamFeed, choose_loader, scaler_of
from xtlray.store import Store
from xtlray.training.table import CompactTable

ENCODER = FractionEncoder(ELEMNET_ELEMENTS)
LOADER = "loader.json"


class Rows(NamedTuple):
    """Training and validation rows, targets scaled by the training rows' mean and spread, and how they are held."""

    train: CompactTable | StreamFeed
    val: CompactTable
    scaler: TargetScaler
    choice: Choice


def load_rows(
    store: Store,
    data: Sequence[tuple[str, str]],
    wanted: Loader,
    ranks: Any,
    exclude: Sequence[tuple[str, str]] = (),
) -> Rows:
    """The rows of these datasets (name and data hash), by the way in that fits. All workers call it.

    Args:
        store: where the datasets lie.
        data: name and data hash of each.
        wanted: the job's setting.
        ranks: this worker among the others (`pretrain.worker.DistributedRanks`).
        exclude: name and data hash of datasets whose test compositions are neither trained nor validated on.

    Raises:
        WorkError: a dataset has no row that can be trained on.
        StoreError: a shard is missing or damaged.
    """
    datasets = [open_dataset(store, name, data_hash) for name, data_hash in data]
    excluded = keys_tested_on(open_dataset(store, name, data_hash) for name, data_hash in exclude)
    choice = choose_loader(datasets, wanted, ranks.device, ranks.here, ranks)
    if choice.loader == "resident":
        return Rows(*load_tables(datasets, ranks.device, excluded), choice)
    source, found = ranks.from_first(lambda: _surveyed(datasets, excluded))
    scaler = scaler_of(found, [dataset.card.name for dataset in datasets])
    val = _table(join(datasets, "val", ENCODER, excluded), scaler, ranks.device)
    return Rows(StreamFeed(source, found, scaler, ranks.device), val, scaler, choice)


def _surveyed(datasets: Sequence[Dataset], excluded: frozenset[bytes]) -> tuple[Source, Survey]:
    source = Source.of(datasets, ENCODER, excluded)
    return source, survey(source)


def load_tables(
    datasets: Sequence[Dataset], device: torch.device, excluded: frozenset[bytes] = frozenset()
) -> tuple[CompactTable, CompactTable, TargetScaler]:
    """Training and validation rows on `device`, each target scaled by its training rows' mean and spread.

    Compositions in `excluded` are in neither.
    """
    train, val = join(datasets, "train", ENCODER, excluded), join(datasets, "val", ENCODER, excluded)
    labels_P = (~np.isnan(train.y_BP)).sum(axis=0)
    for dataset, skipped, withheld, labels in zip(datasets, train.skipped, train.withheld, labels_P, strict=True):
        if not labels:
            raise WorkError(
                "The dataset has no training rows that the net's input can hold",
                got=f"{dataset.card.name}: {skipped} rows with other elements, "
                f"{withheld} that another dataset tests on",
                allowed=f"at least one row of the {len(ENCODER.elements)} elements of ElemNet",
            )
    scaler = TargetScaler.fit(train.y_BP)
    return _table(train, scaler, device), _table(val, scaler, device), scaler


def _table(rows: Joined, scaler: TargetScaler, device: torch.device) -> CompactTable:
    return CompactTable.of(rows.z_BK, rows.f_BK, scaler.transform(rows.y_BP), len(ENCODER.elements), device)


def note_choice(store: Store, attempt: str, choice: Choice) -> None:
    """Leave the choice beside the attempt, where the driver finds it and says it."""
    store.create_json(f"{attempt}/{LOADER}", choice._asdict())
