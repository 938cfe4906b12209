"""The order of a streamed epoch: which rows of which shard, in whose hands, and how they are mixed.

Shards are sorted by formula, so a stream that followed them would train on one chemistry after another. Each epoch
therefore permutes every shard, cuts it into slices, permutes the slices of all shards, and mixes the rows of many
slices in a buffer. All of it is a function of seed, epoch and the number of workers.

Shape suffixes: B rows, K most elements in a row, P properties.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# A shard of 65,536 rows is read once per slice: smaller slices mix wider, and cost another reading each.
SLICE_ROWS = 32_768
# Some 100 MB. It is to hold a fifth of a worker's rows: with a twentieth (and slices, shards as large in proportion as
# those of 10 million rows), validation errors on OQMD rose by 1 %, with a fifth they were those of a full shuffle.
BUFFER_ROWS = 2_097_152


class Slice(NamedTuple):
    """Rows `start` to `stop` (exclusive) of a shard's usable rows, in the epoch's order of that shard."""

    shard: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class Block(NamedTuple):
    """Compact rows: columns of the elements, their fractions (0 beyond the last), scaled targets."""

    z_BK: NDArray[np.uint8]
    f_BK: NDArray[np.float32]
    y_BP: NDArray[np.float32]

    def take(self, index: NDArray[Any]) -> Block:
        """The rows of these numbers, or where a mask is true."""
        return Block(self.z_BK[index], self.f_BK[index], self.y_BP[index])


def shard_order(shard: int, rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of a shard's usable rows in an epoch."""
    return _generator(seed, epoch, 0, shard).permutation(rows)


def epoch_slices(usable: Sequence[int], seed: int, epoch: int, most: int = SLICE_ROWS) -> list[Slice]:
    """All rows of an epoch as slices in the epoch's order.

    Args:
        usable: usable rows of each shard.
        seed: of the run.
        epoch: counted from 0.
        most: rows of a slice at most.
    """
    slices = []
    for shard, rows in enumerate(usable):
        count = math.ceil(rows / most)
        cuts = [rows * i // count for i in range(count + 1)] if count else []
        slices += [Slice(shard, start, stop) for start, stop in pairwise(cuts)]
    return [slices[i] for i in _generator(seed, epoch, 1).permutation(len(slices))]


def share(slices: Sequence[Slice], rank: int, world: int) -> list[Slice]:
    """A worker's part of the slices: `held(rank, world, rows)` consecutive rows, cut out of a slice where need be."""
    rows = sum(map(len, slices))
    first = sum(held(other, world, rows) for other in range(rank))
    last = first + held(rank, world, rows)
    mine, begin = [], 0
    for shard, start, stop in slices:
        end = begin + stop - start
        if end > first and begin < last:
            mine.append(Slice(shard, start + max(0, first - begin), stop - max(0, end - last)))
        begin = end
    return mine


def held(rank: int, world: int, rows: int) -> int:
    """How many of the first `rows` rows of an epoch a worker gives: rows / world, up to one.

    The differences give its part of each batch: they add up to the batch over the workers, and over the epoch to
    exactly the rows that it has.
    """
    return (rows + world - 1 - rank) // world


def mix(blocks: Iterator[Block], seed: int, epoch: int, rank: int, buffer_rows: int = BUFFER_ROWS) -> Iterator[Block]:
    """The same rows, mixed: of those that wait, an eighth of the buffer is drawn at random, again and again.

    While the buffer fills, rows are given away already, one for every two that come: training need not wait for long.
    """
    generator = _generator(seed, epoch, 2, rank)
    given = max(1, buffer_rows // 8)
    enough = 2 * given
    waiting: list[Block] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block.z_BK)
        while count >= enough:
            pool = concatenate(waiting)
            drawn = generator.choice(count, given, replace=False)
            yield pool.take(drawn)
            left = np.ones(count, bool)
            left[drawn] = False
            waiting, count = [pool.take(left)], count - given
            enough = min(enough + given, max(buffer_rows, 2 * given))
    if count:
        yield concatenate(waiting).take(generator.permutation(count))


def concatenate(blocks: Sequence[Block]) -> Block:
    """The rows of all blocks (at least one), in their order."""
    return Block(
        np.concatenate([block.z_BK for block in blocks]),
        np.concatenate([block.f_BK for block in blocks]),
        np.concatenate([block.y_BP for block in blocks]),
    )


def _generator(*words: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
