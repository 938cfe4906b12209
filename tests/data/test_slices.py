"""The order of a streamed epoch: every row once, whatever the shards and workers, in another order each epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from xtlray.data.slices import Block, Slice, concatenate, epoch_slices, held, mix, shard_order, share

USABLE = (10, 0, 1, 23, 7)


def rows_of(slices: list[Slice]) -> list[tuple[int, int]]:
    return [(piece.shard, row) for piece in slices for row in range(piece.start, piece.stop)]


EVERY_ROW = Counter((shard, row) for shard, rows in enumerate(USABLE) for row in range(rows))


@pytest.mark.parametrize("most", [1, 4, 1000])
def test_the_slices_hold_every_row_once_and_are_no_larger_than_asked(most: int) -> None:
    slices = epoch_slices(USABLE, seed=3, epoch=0, most=most)
    assert Counter(rows_of(slices)) == EVERY_ROW
    assert max(map(len, map(rows_of, ([piece] for piece in slices)))) <= most


def test_the_order_is_the_seeds_and_the_epochs() -> None:
    first = epoch_slices(USABLE, seed=3, epoch=0, most=2)
    assert first == epoch_slices(USABLE, seed=3, epoch=0, most=2)
    assert first != epoch_slices(USABLE, seed=3, epoch=1, most=2)
    assert first != epoch_slices(USABLE, seed=4, epoch=0, most=2)
    assert first != sorted(first)


def test_a_shard_is_permuted_by_seed_epoch_and_its_place() -> None:
    order = shard_order(2, 100, seed=1, epoch=5)
    assert sorted(order) == list(range(100))
    assert order.tolist() != list(range(100))
    assert order.tolist() == shard_order(2, 100, seed=1, epoch=5).tolist()
    for other in (shard_order(3, 100, 1, 5), shard_order(2, 100, 2, 5), shard_order(2, 100, 1, 6)):
        assert order.tolist() != other.tolist()


@pytest.mark.parametrize("world", [1, 2, 3, 7, 50])
def test_workers_share_the_rows_without_loss_or_doubling(world: int) -> None:
    slices = epoch_slices(USABLE, seed=0, epoch=0, most=5)
    shares = [rows_of(share(slices, rank, world)) for rank in range(world)]
    assert Counter(row for mine in shares for row in mine) == EVERY_ROW
    assert [len(mine) for mine in shares] == [held(rank, world, 41) for rank in range(world)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [row for mine in shares for row in mine] == rows_of(slices)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_the_parts_of_each_batch_add_up_to_it(world: int, batch: int) -> None:
    rows = 41
    for start in range(0, rows, batch):
        stop = min(start + batch, rows)
        parts = [held(rank, world, stop) - held(rank, world, start) for rank in range(world)]
        assert sum(parts) == stop - start
        assert min(parts) >= 0
        assert max(parts) - min(parts) <= 1


def numbered(first: int, rows: int) -> Block:
    number = np.arange(first, first + rows)
    return Block(
        (number % 256).astype(np.uint8)[:, None], number.astype(np.float32)[:, None], np.zeros((rows, 1), "f4")
    )


def blocks(sizes: list[int]) -> Iterator[Block]:
    first = 0
    for rows in sizes:
        yield numbered(first, rows)
        first += rows


def test_mixing_loses_no_row_and_keeps_rows_together() -> None:
    given = concatenate(list(mix(blocks([7, 0, 20, 1, 40, 3]), seed=0, epoch=0, rank=0, buffer_rows=16)))
    numbers = given.f_BK[:, 0].astype(int)
    assert sorted(numbers) == list(range(71))
    assert (given.z_BK[:, 0] == numbers % 256).all()


def test_mixing_of_nothing_is_nothing() -> None:
    assert list(mix(iter([]), 0, 0, 0)) == []


def test_the_buffer_mixes_far_and_stays_small() -> None:
    """Rows that came together go far apart; no more are taken in than the buffer holds."""
    came = 0

    def counted() -> Iterator[Block]:
        nonlocal came
        for block in blocks([50] * 40):
            came += len(block.z_BK)
            yield block

    given, most, gone = [], 0, 0
    for block in mix(counted(), seed=0, epoch=0, rank=0, buffer_rows=400):
        most = max(most, came - gone)
        gone += len(block.z_BK)
        given.append(block)
    assert 400 <= most < 450
    place = np.argsort(concatenate(given).f_BK[:, 0])
    assert np.ptp(place.reshape(40, 50), axis=1).mean() > 300


def test_the_first_rows_come_before_the_buffer_is_full() -> None:
    source = blocks([50] * 40)
    assert len(next(mix(source, seed=0, epoch=0, rank=0, buffer_rows=400)).z_BK) == 50
    assert sum(len(block.z_BK) for block in source) == 2000 - 2 * 50


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"rank": 1}])
def test_mixing_is_the_seeds_the_epochs_and_the_workers(other: dict[str, int]) -> None:
    def numbers(**changed: int) -> list[float]:
        words = {"seed": 0, "epoch": 0, "rank": 0} | changed
        return concatenate(list(mix(blocks([30, 30]), **words, buffer_rows=20))).f_BK[:, 0].tolist()

    assert numbers() == numbers()
    assert numbers() != numbers(**other)
