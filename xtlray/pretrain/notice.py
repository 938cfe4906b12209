"""Word that a training is about to be cut off, and what comes of it: a checkpoint in the middle of an epoch.

It comes in three ways. A queue, or a machine that is taken back, sends SIGTERM to a worker's process; Ray says that a
node of the training is being drained; who is about to end the workers leaves a file in the attempt's folder: the driver
that got SIGTERM itself, and Ray's controller, which starts them anew for each node that joins.

A process outlives the SIGTERM of a whole node only where the node was started with `env --block-signal=TERM ray start`:
Ray's raylet would end at once, and its workers with it.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerCallback
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.controller.state import ResizingState, TrainControllerState

from xtlray.errors import StoreError
from xtlray.pretrain.checkpoints import STATE
from xtlray.pretrain.rows import LOADER
from xtlray.store import Store
from xtlray.training.metrics import MeanErrors
from xtlray.training.ranks import Ranks

log = logging.getLogger("xtlray.pretrain")
ASKED = "asked"  # in the attempt's folder: a log of who asked for a checkpoint
LOOK_EVERY = 2.0  # seconds between two looks into it
AGREE_EVERY = 1.0  # seconds between two sums over the workers, each of which costs a fraction of a millisecond
WAIT = 20.0  # seconds that a checkpoint is waited for: who sent SIGTERM seldom waits for more than 30

_told = threading.Event()  # of this process, by SIGTERM


class Listening(WorkerCallback):
    """Has each worker listen for SIGTERM: Ray runs this in its main thread, to which signals come, not the training."""

    def after_init_train_context(self) -> None:
        listen()


class AskingFirst(ControllerCallback):
    """Has Ray's controller ask for a checkpoint before it ends workers that are well, to start more of them.

    Args:
        store: where the attempt lies.
        attempt: its folder.
    """

    def __init__(self, store: Store, attempt: str) -> None:
        self.store, self.attempt = store, attempt

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        if isinstance(current_state, ResizingState):
            ask_for_checkpoint(self.store, self.attempt)


def listen() -> None:
    """Note the first SIGTERM to this process in place of ending at once; the next one ends it as ever."""
    before = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: Any) -> None:
        _told.set()
        signal.signal(signal.SIGTERM, before)

    signal.signal(signal.SIGTERM, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # see the module


class Notices:
    """What one worker has heard, and when all of them agree that a checkpoint is due.

    They agree by a sum over the workers about once a second, after a number of steps that the first worker's clock
    sets: rarely enough to cost nothing, and all of them at the same step.

    Args:
        ranks: of this worker.
        heard: how many notices have come to this worker so far.
        clock: in seconds.
    """

    def __init__(self, ranks: Ranks, heard: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self.ranks, self.heard, self.clock = ranks, heard, clock
        self._answered = 0.0
        self._steps, self._left = 1, 1
        self._since = clock()

    def due(self) -> bool:
        """Whether a notice has come to any worker that has not been answered by a checkpoint yet.

        To be called by all workers after each step.
        """
        self._left -= 1
        if self._left:
            return False
        now = self.clock()
        heard, seconds = self.ranks.sum([float(self.heard()), now - self._since if self.ranks.rank == 0 else 0.0])
        self._since = now
        # At most twice as many as before: the first steps are slower than the rest, or faster.
        self._steps = max(1, min(2 * self._steps, int(self._steps * AGREE_EVERY / max(seconds, 1e-9))))
        self._left = self._steps
        due, self._answered = heard > self._answered, max(heard, self._answered)
        return due


class Ears:
    """Hears what comes to this worker; the first of them also looks whether it is asked, from when this is made.

    Args:
        store: where the attempt lies.
        attempt: its folder.
        first: whether this is the first worker.
    """

    def __init__(self, store: Store, attempt: str, first: bool) -> None:
        self.first, self.asked = first, 0
        if first:
            with suppress(StoreError):  # then nobody can ask
                folder = f"{attempt}/{ASKED}"
                before = max(store.numbers(folder), default=0)  # what the workers before these were asked
                threading.Thread(target=self._look, args=(store, folder, before), daemon=True).start()

    def __call__(self) -> int:
        """How many notices have come so far."""
        own = int(_told.is_set())
        return own + self.asked + nodes_drained() if self.first else own

    def _look(self, store: Store, folder: str, last: int) -> None:
        while True:
            with suppress(StoreError):
                if store.exists(f"{folder}/{last + 1}.json"):
                    last, self.asked = last + 1, self.asked + 1
            time.sleep(LOOK_EVERY)


def nodes_drained() -> int:
    """Nodes of this training that Ray has announced to be taken away.

    `ray.train.get_preemption_info` would say the same, after a round over all workers.
    """
    info = get_train_context().preemption_context.preemption_info
    return len(info.preempted_node_ids) if info else 0


def summed(loss: MeanErrors, properties: int, ranks: Ranks) -> MeanErrors:
    """The errors of all workers' rows. All workers call it; one that has had no rows yet adds nothing."""
    none = [0.0] * properties
    values = ranks.sum([*(loss.totals or none), *(loss.counts or none)])
    return MeanErrors.from_json({"totals": values[:properties], "counts": values[properties:]})


def ask_for_checkpoint(store: Store, attempt: str, seconds: float = WAIT) -> bool:
    """Ask the workers for a checkpoint and wait for it; whether one was written.

    Nothing is waited for before training has begun.
    """
    with suppress(StoreError):
        if not store.exists(f"{attempt}/{LOADER}"):
            return False
        before = _steps(store, attempt)
        store.append(f"{attempt}/{ASKED}", {})
        log.info("waiting up to %.0f s for a checkpoint", seconds)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            new = _steps(store, attempt) - before
            if new:
                log.info("a checkpoint of step %d is written", max(new))
                return True
            time.sleep(0.2)
    log.warning("no checkpoint came in time: the same job goes on at the one before")
    return False


def _steps(store: Store, attempt: str) -> set[int]:
    folder = f"{attempt}/checkpoints"
    return {int(step) for step in store.children(folder) if store.exists(f"{folder}/{step}/{STATE}")}
