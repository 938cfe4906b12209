"""What a worker notes of its own training: the first step, the ends of epochs, its memory."""

from __future__ import annotations

import time

import pytest
import torch

from tests import tiny
from xtlray.errors import StoreGoneError
from xtlray.nn.nets import build_net
from xtlray.pretrain.timing import TIMING, Timing, peak_rss_mb
from xtlray.store import Store
from xtlray.training.loop import fit
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import Table


def table(rows: int = 24) -> Table:
    return Table.of(tiny.inputs(rows), torch.linspace(-1, 1, rows)[:, None])


def test_a_watched_feed_is_the_same_feed() -> None:
    given, watched = table(), Timing().watch(table())
    assert len(watched) == len(given) == 24
    for a, b in zip(given.epoch(1, 8, LoopState(), Ranks()), watched.epoch(1, 8, LoopState(), Ranks()), strict=True):
        assert torch.equal(a.x_BF, b.x_BF)
        assert torch.equal(a.y_BP, b.y_BP)
        assert a.rows == b.rows


def test_the_first_step_has_ended_when_the_second_batch_is_asked_for() -> None:
    timing = Timing()
    batches = timing.watch(table()).epoch(0, 8, LoopState(), Ranks())
    next(batches)
    assert timing.first_step is None
    before = time.time()
    next(batches)
    first = timing.first_step
    assert first is not None
    assert before <= first <= time.time()
    assert len(list(batches)) == 1
    assert timing.first_step == first


def test_what_is_kept(store: Store) -> None:
    timing, ends = Timing(), []

    def epoch_end(state: LoopState) -> bool:
        timing.epoch_end()
        ends.append(time.time())
        return False

    net = build_net(tiny.NET, 86, 1, seed=0)
    started = time.time()
    fit(net, timing.watch(table()), table(0), tiny.RECIPE, epoch_end=epoch_end)
    timing.keep(store, "runs/r/attempts/1", Ranks())
    kept = store.get_json(f"runs/r/attempts/1/{TIMING}")
    assert started <= kept["first_step"] <= kept["epoch_ends"][0]
    assert len(kept["epoch_ends"]) == tiny.RECIPE.epochs
    assert all(abs(a - b) < 1 for a, b in zip(kept["epoch_ends"], ends, strict=True))
    assert len(kept["peak_rss_mb"]) == 1
    assert 0 < kept["peak_rss_mb"][0] <= peak_rss_mb()


def test_the_peak_of_memory_is_in_megabytes() -> None:
    before = peak_rss_mb()
    held = b"x" * 200_000_000
    assert peak_rss_mb() >= max(before, 200.0)
    assert len(held) == 200_000_000
    assert peak_rss_mb() < 100_000


def test_a_store_that_does_not_take_the_note_ends_no_training(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(key: str, value: object) -> bool:
        raise StoreGoneError("gone", got=key)

    monkeypatch.setattr(store, "create_json", refuse)
    Timing().keep(store, "runs/r/attempts/1", Ranks())
