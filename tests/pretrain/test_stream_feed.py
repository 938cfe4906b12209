"""A stream as a feed: batches of the right rows whatever the sizes of what comes; then through Ray, row for row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.data.dataset import Dataset
from xtlray.data.joined import join
from xtlray.data.slices import Block
from xtlray.data.stream import Source, Survey, survey
from xtlray.errors import StoreError, WorkError
from xtlray.nn.scaler import TargetScaler
from xtlray.pretrain.stream_feed import Cutter, StreamFeed, choose_loader, scaler_of
from xtlray.store import Store
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import CompactTable

CPU = torch.device("cpu")


def tables(sizes: list[int]) -> Iterator[CompactTable]:
    first = 0
    for rows in sizes:
        number = np.arange(first, first + rows)[:, None]
        yield CompactTable.of(number % 3, number.astype("f4"), np.hstack([number, -number]), 3)
        first += rows


def test_any_sizes_in_any_sizes_out() -> None:
    rows = Cutter(tables([5, 0, 1, 9]), features=3, width=1, properties=2)
    taken = [rows.take(count, CPU) for count in (0, 2, 4, 0, 8)]
    rows.skip(1)
    assert rows.exhausted()
    assert [len(x_BF) for x_BF, _ in taken] == [0, 2, 4, 0, 8]
    assert all(x_BF.shape[1] == 3 and y_BP.shape[1] == 2 for x_BF, y_BP in taken)
    x_BF, y_BP = (torch.cat(parts) for parts in zip(*taken, strict=True))
    assert y_BP[:, 0].tolist() == list(range(14))
    assert [x_BF[i, i % 3].item() for i in range(14)] == list(range(14))


def test_what_is_left_over_is_noticed() -> None:
    rows = Cutter(tables([5]), features=3, width=1, properties=2)
    rows.skip(4)
    assert not rows.exhausted()


def test_a_stream_that_ends_early_is_noticed() -> None:
    with pytest.raises(AssertionError, match="ended before"):
        Cutter(tables([5]), features=3, width=1, properties=2).take(6, CPU)


def test_a_dataset_without_a_usable_row_is_named() -> None:
    found = Survey((3, 0), 2, (3, 0), (1.0, float("nan")), (0.0, float("nan")), (0, 4), (0, 0))
    with pytest.raises(WorkError, match="user/none: 4 rows with other elements"):
        scaler_of(found, ["user/some", "user/none"])


class Other(Ranks):
    """A worker whose neighbour has no room."""

    def sum(self, values: list[float]) -> list[float]:
        return [value + 1 for value in values]


def test_all_workers_stream_where_one_has_no_room(store: Store) -> None:
    data = [tiny.dataset(store)]
    assert choose_loader(data, "resident", CPU, 1, Ranks()).loader == "resident"
    choice = choose_loader(data, "resident", CPU, 1, Other())
    assert choice.loader == "streaming"
    assert "1 other workers have no room" in choice.reason


# --- through Ray ------------------------------------------------------------------------------------------------------


class Rank(Ranks):
    """A worker of several, for a feed that needs no process group."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world


def epoch(feed: StreamFeed, epoch: int, rank: int, world: int, batch: int, row: int = 0) -> list[Any]:
    """The batches of a worker: targets in the unit, and the global sizes."""
    state = LoopState(epoch=epoch, row=row)
    found = []
    for x_BF, y_BP, rows in feed.epoch(7, batch, state, Rank(rank, world)):
        assert x_BF.shape == (len(y_BP), 86)
        if len(x_BF):
            assert x_BF.sum(dim=1).numpy() == pytest.approx(1.0)
        found.append((feed.scaler.inverse(y_BP.double().numpy()), rows))
    return found


@pytest.fixture
def uneven(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """Two properties, each in several shards, the last of them short; some rows hold helium."""
    monkeypatch.setattr("xtlray.data.shards.ROWS_PER_PART", 17)
    gap = tiny.dataset(store, "user/gap", values=[float(i) for i in range(len(tiny.FORMULAS))])
    few = (*tiny.FORMULAS[:30], "HeO", "He2O", "HeNa", "HeFe", "HeCu", "LiHe", "SiHe2")
    energy = tiny.dataset(store, "user/energy", few, [1000.0 + i for i in range(len(few))])
    return [gap, energy]


def labels(batches: list[Any]) -> Counter[tuple[int, float]]:
    """How often each label came: property and value."""
    y_BP = np.concatenate([y for y, _ in batches])
    assert (np.isfinite(y_BP).sum(axis=1) == 1).all()
    return Counter((p, round(float(v), 2)) for p in range(2) for v in y_BP[:, p] if np.isfinite(v))


@pytest.mark.ray
def test_each_row_once_an_epoch_on_two_workers_that_hold_every_cpu(local_ray: Any, uneven: list[Dataset]) -> None:
    source = Source.of(uneven, tiny.ENCODER)
    assert len({shard.part.rows for shard in source.shards}) > 1
    found = survey(source)
    truth = [join([dataset], "train", tiny.ENCODER) for dataset in uneven]
    assert found.labels == tuple(len(joined) for joined in truth)
    assert found.skipped == tuple(joined.skipped[0] for joined in truth)
    assert found.skipped[1] > 0
    scaler = scaler_of(found, [dataset.card.name for dataset in uneven])
    for p, joined in enumerate(truth):
        assert (scaler.mean[p], scaler.scale[p]) == pytest.approx((joined.y_BP.mean(), joined.y_BP.std()))
    feed = StreamFeed(source, found, scaler, buffer_rows=20)
    expected = Counter((p, round(float(v), 2)) for p, joined in enumerate(truth) for v in joined.y_BP[:, 0])

    @local_ray.remote(num_cpus=1)
    class Worker:
        def run(self, rank: int) -> list[Any]:
            return [epoch(feed, e, rank, 2, batch=8) for e in (0, 1, 0)]

    workers = [Worker.remote() for _ in range(2)]  # type: ignore[attr-defined]
    ranks = local_ray.get([worker.run.remote(rank) for rank, worker in enumerate(workers)], timeout=120)
    for worker in workers:
        local_ray.kill(worker)
    for e in range(3):
        mine, other = ranks[0][e], ranks[1][e]
        assert labels(mine + other) == expected
        sizes = [rows for _, rows in mine]
        assert sizes == [rows for _, rows in other] == [8] * (len(feed) // 8) + [len(feed) % 8] * (len(feed) % 8 > 0)
        assert [len(a) + len(b) for (a, _), (b, _) in zip(mine, other, strict=True)] == sizes
    orders = [np.concatenate([y for y, _ in ranks[0][e]]) for e in range(3)]
    assert not np.array_equal(orders[0], orders[1], equal_nan=True)
    assert np.array_equal(orders[0], orders[2], equal_nan=True)


@pytest.mark.ray
def test_an_epoch_goes_on_where_it_stood(local_ray: Any, uneven: list[Dataset]) -> None:
    source = Source.of(uneven, tiny.ENCODER)
    found = survey(source)
    feed = StreamFeed(source, found, scaler_of(found, ["a", "b"]), buffer_rows=20)
    whole, rest = (np.concatenate([y for y, _ in epoch(feed, 0, 0, 1, 8, row)]) for row in (0, 24))
    assert np.array_equal(whole[24:], rest, equal_nan=True)


@pytest.mark.ray
def test_the_rows_are_those_of_the_resident_way(local_ray: Any, store: Store) -> None:
    """Inputs and scaled targets to the last bit, in whatever order."""
    data = [tiny.dataset(store)]
    joined = join(data, "train", tiny.ENCODER)
    scaler = TargetScaler.fit(joined.y_BP)
    table = CompactTable.of(joined.z_BK, joined.f_BK, scaler.transform(joined.y_BP), 86)
    source = Source.of(data, tiny.ENCODER)
    feed = StreamFeed(source, survey(source), scaler)
    streamed, resident = (
        torch.cat([torch.hstack([x_BF, y_BP]) for x_BF, y_BP, _ in made.epoch(0, 16, LoopState(), Ranks())]).tolist()
        for made in (feed, table)
    )
    assert sorted(streamed) == sorted(resident)
    assert streamed != resident


@pytest.mark.ray
@pytest.mark.parametrize("damage", ["missing", "bytes"])
def test_a_damaged_shard_is_refused_by_name(local_ray: Any, store: Store, damage: str) -> None:
    data = tiny.dataset(store)
    source = Source.of([data], tiny.ENCODER)
    found = survey(source)
    assert store.local_path is not None
    file = Path(store.local_path / source.shards[0].key)
    file.unlink() if damage == "missing" else file.write_bytes(b"PAR1")
    feed = StreamFeed(source, found, scaler_of(found, ["user/gap"]))
    for read in (lambda: survey(source), lambda: next(feed.epoch(0, 8, LoopState(), Ranks()))):
        with pytest.raises(StoreError, match=source.shards[0].key):
            read()


@pytest.mark.ray
def test_rows_that_another_dataset_tests_on_are_withheld(local_ray: Any, store: Store) -> None:
    """The same rows as the resident way withholds, where two datasets are cut differently."""
    sides = ["test" if i % 3 else "train" for i in range(len(tiny.FORMULAS))]
    data = [tiny.dataset(store), tiny.dataset(store, "user/other", sides=sides)]
    found = survey(Source.of(data, tiny.ENCODER))
    joined = join(data, "train", tiny.ENCODER)
    assert found.withheld == joined.withheld
    assert sum(found.withheld) > 0
    assert found.labels == tuple(np.isfinite(joined.y_BP).sum(axis=0))


def test_a_block_is_taken_column_by_column() -> None:
    block = Block(np.arange(4, dtype="u1")[:, None], np.ones((4, 1), "f4"), np.zeros((4, 1), "f4"))
    assert block.take(np.array([2, 1])).z_BK.tolist() == [[2], [1]]
    assert block.take(np.array([False, True, False, True])).z_BK.tolist() == [[1], [3]]
