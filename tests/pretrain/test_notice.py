"""Notices: all workers act on one at the same step, each once, whoever heard it, and at next to no cost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.train.v2._internal.execution.controller.state import ResizingState, RestartingState, RunningState

from xtlray.pretrain import notice
from xtlray.pretrain.notice import ASKED, AskingFirst, Ears, Listening, Notices, ask_for_checkpoint, summed
from xtlray.pretrain.rows import LOADER
from xtlray.store import Store
from xtlray.training.metrics import MeanErrors
from xtlray.training.ranks import Ranks

ATTEMPT = "runs/r/attempts/1"


class Together:
    """Workers in one process: what one of them sums is only known when all have come to it."""

    def __init__(self, world: int) -> None:
        self.barrier, self.given = threading.Barrier(world), [[0.0]] * world
        self.sums = 0

    def ranks(self, rank: int) -> Ranks:
        made = Ranks()
        made.rank, made.world = rank, len(self.given)
        made.sum = lambda values: self._sum(rank, values)  # type: ignore[method-assign]
        return made

    def _sum(self, rank: int, values: list[float]) -> list[float]:
        self.given[rank] = values
        self.sums += rank == 0
        self.barrier.wait(5)
        found = [sum(column) for column in zip(*self.given, strict=True)]
        self.barrier.wait(5)
        return found


def due_at(heard: list[dict[int, int]], steps: int, step_s: float) -> tuple[list[list[int]], int]:
    """At which steps a checkpoint was due, by worker, and how many sums it took.

    Args:
        heard: by worker, how many notices it has heard from a step on.
        steps: that are taken.
        step_s: seconds of each.
    """
    together = Together(len(heard))
    found: list[list[int]] = [[] for _ in heard]

    def work(rank: int) -> None:
        now = [0]
        notices = Notices(
            together.ranks(rank),
            lambda: max([n for step, n in heard[rank].items() if step <= now[0]], default=0),
            # Their clocks differ: the first worker's is the one that counts.
            clock=lambda: 1000.0 * rank + now[0] * step_s * (1 + rank),
        )
        for now[0] in range(1, steps + 1):
            if notices.due():
                found[rank].append(now[0])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(heard))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, together.sums


def test_all_act_at_the_same_step_whoever_heard_it() -> None:
    (first, *others), _ = due_at([{}, {}, {500: 1}], 2000, step_s=0.01)
    assert others == [first, first]
    assert len(first) == 1  # once
    assert 500 <= first[0] <= 500 + 101  # within about a second


def test_each_notice_is_acted_on() -> None:
    found, _ = due_at([{1000: 1}, {10: 1}], 2000, step_s=0.01)
    assert found[0] == found[1]
    assert len(found[0]) == 2


@pytest.mark.parametrize(("step_s", "most"), [(0.001, 30), (0.1, 210), (3.0, 2000)])
def test_they_agree_about_once_a_second(step_s: float, most: int) -> None:
    _, sums = due_at([{}, {}], 2000, step_s)
    assert min(2000, 2000 * step_s) * 0.9 <= sums <= most


def test_one_worker_alone() -> None:
    heard = [0]
    notices = Notices(Ranks(), lambda: heard[0], clock=iter(range(100)).__next__)
    assert not any(notices.due() for _ in range(5))
    heard[0] = 1
    assert [notices.due() for _ in range(5)] == [True, False, False, False, False]


def test_errors_of_all_workers_are_summed_those_without_rows_too() -> None:
    mine = MeanErrors()
    mine.add(torch.tensor([3.0, 4.0]), torch.tensor([1, 2]))
    ranks = Ranks()
    ranks.sum = lambda values: [a + b for a, b in zip(values, [1.0, 1.0, 10.0, 10.0], strict=True)]  # type: ignore[method-assign]
    assert summed(mine, 2, ranks).as_json() == {"totals": [4.0, 5.0], "counts": [11.0, 12.0]}
    assert summed(MeanErrors(), 2, ranks).as_json() == {"totals": [1.0, 1.0], "counts": [10.0, 10.0]}


# --- what is heard ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nobody has heard anything; afterwards SIGTERM is what it was."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(notice, "_told", threading.Event())
    monkeypatch.setattr(notice, "nodes_drained", lambda: 0)
    monkeypatch.setattr(notice, "LOOK_EVERY", 0.01)
    yield monkeypatch
    signal.signal(signal.SIGTERM, before)


def test_the_first_sigterm_is_noted_the_next_one_ends_the_process_as_ever(
    store: Store, quiet: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as a node is started that outlives its notice
    Listening().after_init_train_context()
    ears = Ears(store, ATTEMPT, first=False)
    assert ears() == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert (ears(), ended) == (1, [])
    os.kill(os.getpid(), signal.SIGTERM)
    assert (ears(), ended) == (1, [signal.SIGTERM])


def eventually(condition: Callable[[], bool]) -> bool:
    return any(condition() or threading.Event().wait(0.01) for _ in range(200))


def test_the_first_worker_alone_looks_whether_it_was_asked(store: Store, quiet: pytest.MonkeyPatch) -> None:
    store.append(f"{ATTEMPT}/{ASKED}", {})  # the workers before these
    first, other = Ears(store, ATTEMPT, first=True), Ears(store, ATTEMPT, first=False)
    for n in (1, 2):
        assert (first(), other()) == (n - 1, 0)
        store.append(f"{ATTEMPT}/{ASKED}", {})
        assert eventually(lambda n=n: first() == n)
    assert other() == 0


def test_a_node_that_is_drained_is_heard_of_by_the_first_worker_alone(store: Store, quiet: pytest.MonkeyPatch) -> None:
    quiet.setattr(notice, "nodes_drained", lambda: 2)
    assert [Ears(store, ATTEMPT, first=first)() for first in (True, False)] == [2, 0]


@pytest.mark.parametrize(("info", "expected"), [(None, 0), (SimpleNamespace(preempted_node_ids=["a", "b"]), 2)])
def test_where_ray_keeps_what_it_says_of_drained_nodes(
    monkeypatch: pytest.MonkeyPatch, info: Any, expected: int
) -> None:
    context = SimpleNamespace(preemption_context=SimpleNamespace(preemption_info=info))
    monkeypatch.setattr(notice, "get_train_context", lambda: context)
    assert notice.nodes_drained() == expected


# --- who asks --------------------------------------------------------------------------------------------------------


def test_before_training_has_begun_nothing_is_waited_for(store: Store) -> None:
    assert not ask_for_checkpoint(store, ATTEMPT)
    assert store.list("") == []


def test_who_asks_waits_for_a_new_checkpoint_that_is_complete(store: Store) -> None:
    def checkpoint(step: int, complete: bool = True) -> None:
        store.create_json(f"{ATTEMPT}/checkpoints/{step:09d}/{'state.json' if complete else 'model'}", {})

    def answer() -> None:
        assert eventually(lambda: store.exists(f"{ATTEMPT}/{ASKED}/2.json"))
        checkpoint(9)

    store.create_json(f"{ATTEMPT}/{LOADER}", {})
    checkpoint(7)
    checkpoint(8, complete=False)
    assert not ask_for_checkpoint(store, ATTEMPT, seconds=0.05)
    worker = threading.Thread(target=answer)
    worker.start()
    assert ask_for_checkpoint(store, ATTEMPT, seconds=5)
    worker.join()


def test_rays_controller_asks_before_it_ends_workers_that_are_well(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(notice, "ask_for_checkpoint", lambda store, attempt: asked.append(attempt))
    first = AskingFirst(store, ATTEMPT)
    running, resizing = RunningState(), ResizingState(scaling_decision=None)
    first.after_controller_state_update(running, RestartingState(training_failed_error=None))
    assert asked == []
    first.after_controller_state_update(running, resizing)
    assert asked == [ATTEMPT]
