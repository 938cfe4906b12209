"""Rows in memory: dense or compact they are the same rows, and every epoch sees each of them once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import CompactTable, Table, epoch_order

Z_BK = np.array([[3, 10, 0], [7, 0, 0], [0, 1, 85]], np.uint8)
F_BK = np.array([[0.25, 0.75, 0], [1, 0, 0], [0.5, 0.25, 0.25]], np.float32)
COMPACT = CompactTable.of(Z_BK, F_BK, np.array([[1.0, np.nan], [2.0, 5.0], [3.0, 6.0]]), features=86)


def test_a_compact_row_is_the_dense_one() -> None:
    x_BF, y_BP = COMPACT.take(torch.tensor([2, 0]))
    expected = torch.zeros(2, 86)
    expected[0, [0, 1, 85]] = torch.tensor([0.5, 0.25, 0.25])
    expected[1, [3, 10]] = torch.tensor([0.25, 0.75])
    assert torch.equal(x_BF, expected)
    assert y_BP[0].tolist() == [3.0, 6.0]
    assert y_BP[1, 0] == 1.0
    assert y_BP[1, 1].isnan()
    assert COMPACT.nbytes == 3 * (3 * 1 + 3 * 4 + 2 * 4)


def one_epoch(rows: int, batch: int, rank: int, world: int, state: LoopState) -> list[tuple[list[float], int]]:
    """The numbers of my rows in each batch, and the rows of the global batch."""
    table = Table.of(np.zeros((rows, 1)), np.arange(rows)[:, None])
    ranks = Ranks()
    ranks.rank, ranks.world = rank, world
    return [(part.y_BP[:, 0].tolist(), part.rows) for part in table.epoch(0, batch, state, ranks)]


@pytest.mark.parametrize(("rows", "batch", "world"), [(30, 8, 1), (30, 8, 3), (25, 8, 7), (3, 8, 2), (1, 1, 2)])
def test_every_row_is_seen_once_an_epoch_and_shared_evenly(rows: int, batch: int, world: int) -> None:
    each = [one_epoch(rows, batch, rank, world, LoopState(epoch=4)) for rank in range(world)]
    assert sorted(row for parts in each for mine, _ in parts for row in mine) == list(range(rows))
    assert len({tuple(total for _, total in parts) for parts in each}) == 1
    assert sum(total for _, total in each[0]) == rows
    counts = [sum(len(mine) for mine, _ in parts) for parts in each]
    assert all(abs(count - rows / world) <= batch for count in counts)


@pytest.mark.parametrize("world", [2, 3])
def test_the_batches_of_several_workers_are_those_of_one(world: int) -> None:
    (whole, *_), state = [one_epoch(30, 8, 0, 1, LoopState())], LoopState()
    parts = [one_epoch(30, 8, rank, world, state) for rank in range(world)]
    for i, (rows, total) in enumerate(whole):
        assert [row for part in parts for row in part[i][0]] == rows
        assert {part[i][1] for part in parts} == {total}


def test_what_is_left_of_an_epoch() -> None:
    whole = one_epoch(30, 8, 0, 1, LoopState())
    assert one_epoch(30, 8, 0, 1, LoopState(row=16)) == whole[2:]
    assert one_epoch(30, 8, 0, 1, LoopState(row=30)) == []


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    torch.manual_seed(0)
    order = epoch_order(100, seed=3, epoch=7)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(order, epoch_order(100, seed=3, epoch=7))
    assert sorted(order.tolist()) == list(range(100))
    assert not torch.equal(order, epoch_order(100, seed=3, epoch=8))
    assert not torch.equal(order, epoch_order(100, seed=4, epoch=7))
    assert epoch_order(8, seed=3, epoch=7).tolist() == [1, 2, 7, 4, 0, 3, 5, 6]  # on every machine, for ever
