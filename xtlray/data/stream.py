"""Datasets too big for memory as a stream: Ray Data reads the shards, each row once an epoch, in a seeded order.

References to slices of shards are the rows of a Ray Dataset; its tasks read them through the same store and checks
as everything else, and hand on compact rows. Every worker runs its own Dataset over its own slices, in their order:
which rows it gets does not hang on timing, and no row is dropped to make the workers equal.

Shape suffixes: B rows, K most elements in a row, P properties.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import ExecutionOptions, ExecutionResources, TaskPoolStrategy

from xtlray.chem.formula import Compositions, composition_keys
from xtlray.chem.fractions import FractionEncoder
from xtlray.data import shards
from xtlray.data.dataset import Dataset, get_shard
from xtlray.data.executions import batches_of, settle
from xtlray.data.joined import compact, held_out_keys
from xtlray.data.slices import Block, Slice, shard_order
from xtlray.records import Part
from xtlray.store import Store

READERS = 2  # tasks at a time, for each worker: one core decodes two million rows a second
STORE_BYTES = 64 << 20  # of the object store, for each worker: some 40 slices
# Slices of one execution of Ray Data, about 25 MB. Its executor is a thread of this process that never rests while
# rows wait to be taken: measured, it took half a core and the interpreter from the training beside it, which fell to
# a third of its speed. So what is read ahead is read to its end, and then no executor runs until more is wanted.
SLICES_AHEAD = 16


@dataclass(frozen=True)
class Shard:
    """Where a shard lies, its entry in the card, and the property (of P) whose labels it holds."""

    store: Store
    key: str
    part: Part
    column: int


@dataclass(frozen=True, eq=False)
class Source:
    """The training shards of P datasets, a property each.

    Attributes:
        shards: of all datasets, in the order of their cards.
        properties: P.
        encoder: rows with another element are skipped.
        held_out: uint64, sorted: compositions that some dataset validates or tests on, where another one, cut
            otherwise, might train on them; and those that were excluded. Such rows are withheld.
    """

    shards: tuple[Shard, ...]
    properties: int
    encoder: FractionEncoder
    held_out: NDArray[np.uint64]

    @classmethod
    def of(
        cls, datasets: Sequence[Dataset], encoder: FractionEncoder, excluded: frozenset[bytes] = frozenset()
    ) -> Source:
        """The training rows of `datasets`, without the compositions in `excluded`."""
        found = [
            Shard(dataset.store, f"{dataset.folder}/{part.file}", part, column)
            for column, dataset in enumerate(datasets)
            for part in dataset.card.parts
            if part.split == "train"
        ]
        held_out = excluded | held_out_keys(datasets)
        return cls(tuple(found), len(datasets), encoder, np.unique(_ids(held_out)))

    def read(self, shard: int) -> tuple[Compositions, NDArray[np.float64], int, int]:
        """Compositions and values of a shard's usable rows, and how many were skipped and withheld.

        Raises:
            StoreError: the shard is missing or damaged.
        """
        place = self.shards[shard]
        value_B, found = shards.read(get_shard(place.store, place.key), place.part, place.key)
        able = self.encoder.encodable(found)
        kept = able.copy()
        if len(self.held_out):
            kept &= ~np.isin(_ids(composition_keys(found)), self.held_out)
        return found.take(kept), value_B[kept], int((~able).sum()), int((able & ~kept).sum())


@dataclass(frozen=True)
class Survey:
    """What one look at every shard found.

    Attributes:
        usable: rows of each shard that are trained on.
        width: K, most elements in a row.
        labels: usable rows of each property.
        mean: of each property's usable rows, in its unit; NaN where there are none.
        spread: their standard deviations.
        skipped: rows of each property with an element that the encoder does not know.
        withheld: rows of each property left out for their composition (`Source.held_out`).
    """

    usable: tuple[int, ...]
    width: int
    labels: tuple[int, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    skipped: tuple[int, ...]
    withheld: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows of an epoch, over all workers."""
        return sum(self.usable)


def survey(source: Source) -> Survey:
    """Read every shard once: its checks, its usable rows, the moments of its targets.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    tasks = max(READERS, int(ray.cluster_resources().get("CPU", 0)))
    items = [{"shard": shard} for shard in range(len(source.shards))]
    columns: dict[str, Any] = {}
    for batch in _run(items, partial(_look, source), tasks):
        columns = {name: np.append(columns.get(name, []), batch[name]) for name in batch}
    return _summary(source, columns)


def stream(
    source: Source,
    width: int,
    slices: Sequence[Slice],
    seed: int,
    epoch: int,
    mean_P: NDArray[np.float64],
    scale_P: NDArray[np.float64],
) -> Iterator[Block]:
    """The rows of `slices`, in their order, targets scaled; up to `SLICES_AHEAD` are read ahead, by `READERS` tasks.

    Args:
        source: where they lie.
        width: K.
        slices: which.
        seed: of the run; with `epoch`, of the order within the shards.
        epoch: counted from 0.
        mean_P: scaled = (value - mean) / scale.
        scale_P: see `mean_P`.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    work = partial(_read, source, width, seed, epoch, mean_P, scale_P)

    def read(group: Sequence[Slice]) -> list[Block]:
        batches = _run([piece._asdict() for piece in group], work, READERS)
        return [Block(batch["z"], batch["f"], batch["y"]) for batch in batches]

    groups = [slices[i : i + SLICES_AHEAD] for i in range(0, len(slices), SLICES_AHEAD)]
    reader = ThreadPoolExecutor(1, "read-ahead")
    try:
        ahead = [reader.submit(read, group) for group in groups[:1]]
        for following in [*groups[1:], None]:
            blocks = ahead.pop().result() if ahead else []
            if following is not None:
                ahead.append(reader.submit(read, following))
            yield from blocks
    finally:
        reader.shutdown(cancel_futures=True)


def _read(
    source: Source,
    width: int,
    seed: int,
    epoch: int,
    mean_P: NDArray[np.float64],
    scale_P: NDArray[np.float64],
    item: dict[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """In a task: one slice as compact rows."""
    shard, start, stop = (int(item[name][0]) for name in Slice._fields)
    found, value_B, _, _ = source.read(shard)
    chosen = shard_order(shard, len(value_B), seed, epoch)[start:stop]
    z_BK, f_BK = compact(found.take(chosen), source.encoder)
    padding = ((0, 0), (0, width - z_BK.shape[1]))
    column = source.shards[shard].column
    y_BP = np.full((len(chosen), source.properties), np.nan, np.float32)
    y_BP[:, column] = (value_B[chosen] - mean_P[column]) / scale_P[column]
    return {"z": np.pad(z_BK, padding), "f": np.pad(f_BK, padding), "y": y_BP}


def _look(source: Source, item: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """In a task: what the survey wants to know of one shard."""
    shard = int(item["shard"][0])
    found, value_B, skipped, withheld = source.read(shard)
    mean = value_B.mean() if len(value_B) else 0.0
    answer = {
        "usable": len(value_B),
        "width": found.counts.max(initial=1),
        "mean": mean,
        "squares": np.square(value_B - mean).sum(),
        "skipped": skipped,
        "withheld": withheld,
    }
    return {name: np.array([value], np.float64) for name, value in answer.items()}


def _summary(source: Source, columns: dict[str, Any]) -> Survey:
    """Put the shards' figures together, property by property."""
    place = np.array([shard.column for shard in source.shards], int)

    def total(values: Any) -> Any:
        return np.bincount(place, values, source.properties)

    count_P = total(columns["usable"])
    with np.errstate(invalid="ignore"):  # a property without rows has no mean
        mean_P = total(columns["usable"] * columns["mean"]) / count_P
        between = columns["usable"] * np.square(columns["mean"] - mean_P[place])
        spread_P = np.sqrt(total(columns["squares"] + between) / count_P)
    whole = [tuple(map(int, v)) for v in (count_P, total(columns["skipped"]), total(columns["withheld"]))]
    return Survey(
        usable=tuple(map(int, columns["usable"])),
        width=int(max(columns["width"])),
        labels=whole[0],
        mean=tuple(mean_P.tolist()),
        spread=tuple(spread_P.tolist()),
        skipped=whole[1],
        withheld=whole[2],
    )


def _run(items: list[dict[str, int]], work: Any, tasks: int) -> Iterator[dict[str, NDArray[Any]]]:
    """What `work` makes of each item, in their order, by `tasks` tasks at a time and with bounded memory."""
    if not items:
        return
    rows = ray.data.from_items(items, override_num_blocks=len(items))
    settle(rows.context)
    rows.context.execution_options = ExecutionOptions(
        preserve_order=True, resource_limits=ExecutionResources(object_store_memory=STORE_BYTES)
    )
    # No logical CPU: training workers may hold them all, and would wait for rows that nobody may read.
    pool = TaskPoolStrategy(size=min(tasks, len(items)))
    read = rows.map_batches(work, batch_size=1, batch_format="numpy", num_cpus=0, compute=pool)
    yield from batches_of(read, ahead=4)


def _ids(keys: Sequence[bytes] | frozenset[bytes]) -> NDArray[np.uint64]:
    """8 bytes of each composition key's BLAKE2 hash: a set of millions stays small."""
    return np.frombuffer(b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in keys), np.uint64)
