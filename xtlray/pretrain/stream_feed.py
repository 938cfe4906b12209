"""A stream as the feed of the training loop: my rows of every global batch, for data that do not fit into memory.

Shape suffixes: B rows, F features, K most elements in a row, P properties.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from xtlray.data.dataset import Dataset
from xtlray.data.loader import LOADING_BYTES, Choice, Loader, available_memory, choose, compact_bytes
from xtlray.data.slices import BUFFER_ROWS, Block, epoch_slices, held, mix, share
from xtlray.data.stream import Source, Survey, stream
from xtlray.errors import WorkError
from xtlray.nn.scaler import TargetScaler
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import Batch, CompactTable, dense


class StreamFeed:
    """Training rows that Ray Data reads while the net trains.

    Each worker makes its own and gets rows / world rows of an epoch, up to one. With the same seed and number of
    workers the batches are the same; with another number, the same rows of an epoch in another order.

    Args:
        source: the shards.
        found: the survey of them, the same on every worker.
        scaler: of the targets.
        device: where the batches are wanted.
        buffer_rows: rows among which rows are mixed.
    """

    def __init__(
        self,
        source: Source,
        found: Survey,
        scaler: TargetScaler,
        device: torch.device | str = "cpu",
        buffer_rows: int = BUFFER_ROWS,
    ) -> None:
        self.source, self.found, self.scaler = source, found, scaler
        self.device, self.buffer_rows = device, buffer_rows
        self.features = len(source.encoder.elements)

    def __len__(self) -> int:
        return self.found.rows

    def epoch(self, seed: int, batch: int, state: LoopState, ranks: Ranks) -> Iterator[Batch]:
        """What is left of the present epoch.

        Within an epoch (`state.row` above 0) it goes on exactly only with the number of workers that began it.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        mine = partial(held, ranks.rank, ranks.world)
        rows = Cutter(self._tables(seed, state.epoch, ranks), self.features, self.found.width, len(self.scaler.mean))
        rows.skip(mine(state.row))
        for start in range(state.row, len(self), batch):
            stop = min(start + batch, len(self))
            x_BF, y_BP = rows.take(mine(stop) - mine(start), self.device)
            yield Batch(x_BF, y_BP, stop - start)
        assert rows.exhausted(), "the epoch is over, but not the stream"

    def _tables(self, seed: int, epoch: int, ranks: Ranks) -> Iterator[CompactTable]:
        """My rows of an epoch on their device, mixed, a few hundred thousand at a time."""
        slices = share(epoch_slices(self.found.usable, seed, epoch), ranks.rank, ranks.world)
        mean_P, scale_P = np.array(self.scaler.mean), np.array(self.scaler.scale)
        blocks: Iterator[Block] = stream(self.source, self.found.width, slices, seed, epoch, mean_P, scale_P)
        for block in mix(blocks, seed, epoch, ranks.rank, self.buffer_rows):
            yield CompactTable.of(*block, self.features, self.device)


class Cutter:
    """Takes any number of rows at a time from tables that come one after another."""

    def __init__(self, tables: Iterator[CompactTable], features: int, width: int, properties: int) -> None:
        self._tables, self._features = tables, features
        self._table = CompactTable.of(np.zeros((0, width)), np.zeros((0, width)), np.zeros((0, properties)), features)
        self._at = 0

    def take(self, rows: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next `rows` rows."""
        pieces = list(self._pieces(rows))
        if not pieces:
            empty = self._table
            return dense(empty.z_BK[:0], empty.f_BK[:0], self._features).to(device), empty.y_BP[:0].to(device)
        z_BK, f_BK, y_BP = pieces[0] if len(pieces) == 1 else map(torch.cat, zip(*pieces, strict=True))
        return dense(z_BK, f_BK, self._features), y_BP

    def skip(self, rows: int) -> None:
        """Pass over the next `rows` rows."""
        for _ in self._pieces(rows):
            pass

    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._table) and all(not len(table) for table in self._tables)

    def _pieces(self, rows: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while rows > 0:
            if self._at == len(self._table):
                table = next(self._tables, None)
                assert table is not None, "the stream ended before the epoch"
                self._table, self._at = table, 0
            chosen = slice(self._at, min(self._at + rows, len(self._table)))
            yield self._table.z_BK[chosen], self._table.f_BK[chosen], self._table.y_BP[chosen]
            rows -= chosen.stop - chosen.start
            self._at = chosen.stop


def scaler_of(found: Survey, names: Sequence[str]) -> TargetScaler:
    """The scaler of the streamed training rows.

    Raises:
        WorkError: a dataset has no row that can be trained on.
    """
    for name, labels, skipped, withheld in zip(names, found.labels, found.skipped, found.withheld, strict=True):
        if not labels:
            raise WorkError(
                "The dataset has no training rows that the net's input can hold",
                got=f"{name}: {skipped} rows with other elements, {withheld} that another dataset tests on",
                allowed="at least one row of the elements that the net knows",
            )
    return TargetScaler.of_moments(np.array(found.mean), np.array(found.spread))


def choose_loader(
    datasets: Sequence[Dataset], wanted: Loader, device: torch.device, workers_here: int, ranks: Ranks
) -> Choice:
    """The way in that all workers take: streaming where one of them would not have room.

    Call it on every worker before any rows are loaded.

    Args:
        datasets: what is trained on.
        wanted: the job's setting.
        device: of this worker.
        workers_here: workers on this node, who share its memory.
        ranks: of this worker.
    """
    rows = sum(dataset.card.splits.get(split, 0) for dataset in datasets for split in ("train", "val"))
    memory = available_memory()
    choice = choose(rows, LOADING_BYTES, None if memory is None else memory // workers_here, wanted)
    if device.type == "cuda" and choice.loader == "resident":
        free = torch.cuda.mem_get_info(device)[0]
        choice = choose(rows, compact_bytes(len(datasets)), free, wanted, "GPU memory")
    streaming = int(ranks.sum([float(choice.loader == "streaming")])[0])
    if streaming and choice.loader == "resident":
        return Choice("streaming", f"{choice.reason}, but {streaming} other workers have no room: so streaming")
    return choice
