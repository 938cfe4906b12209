"""What each Ray Train worker runs: read its rows, pick up the newest checkpoint, train, checkpoint every epoch.

One more is written in the middle of an epoch where word has come that the training is about to be cut off.

Shape suffixes: B rows, F features, P properties.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from xtlray.data.loader import Loader
from xtlray.errors import StoreError, StoreGoneError, WorkError
from xtlray.nn.nets import build_net
from xtlray.pretrain.checkpoints import Found, complete_checkpoints, restore, save_checkpoint
from xtlray.pretrain.gauges import Gauges
from xtlray.pretrain.notice import Ears, Notices, summed
from xtlray.pretrain.rescue import last_good, save_or_rescue
from xtlray.pretrain.rows import load_rows, note_choice
from xtlray.pretrain.timing import Timing
from xtlray.store import Store
from xtlray.training.divergence import DivergedError, with_checkpoint
from xtlray.training.loop import Recipe, fit, make_optimizer
from xtlray.training.memory import keep_freed_memory
from xtlray.training.metrics import MeanErrors
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState

log = logging.getLogger("xtlray.pretrain")


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to know; it travels to each of them."""

    store: str
    run: str
    attempt: str
    data: tuple[tuple[str, str], ...]  # name and data hash of each dataset, a property each
    net: dict[str, Any]
    recipe: Recipe
    threads: int
    loader: Loader
    exclude: tuple[tuple[str, str], ...] = ()  # the same of datasets whose test compositions are left out


class DistributedRanks(Ranks):
    """A worker of a torch process group."""

    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.here = ray.train.get_context().get_local_world_size()
        self.device = ray.train.torch.get_device()

    def wrap(self, net: torch.nn.Module) -> Any:
        if self.world == 1:
            return net
        devices = [self.device] if self.device.type == "cuda" else None
        # Gradients live in what is sent: two copies of them a step less (measured: half of what the workers cost).
        return DistributedDataParallel(net, device_ids=devices, gradient_as_bucket_view=True)

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What the first worker makes, on all of them. Where the store has gone, all end together, none left waiting.

        Raises:
            WorkError: the first worker met a store that is gone.
        """
        made: list[Any] = [None]
        if self.rank == 0:
            try:
                made[0] = make()
            except StoreGoneError as error:
                made[0] = WorkError(error.what, got=error.got, fix=error.fix)  # no StoreError: see `train_worker`
        dist.broadcast_object_list(made, src=0, device=self.device)
        if isinstance(made[0], WorkError):
            raise made[0]
        return made[0]

    def sum(self, values: list[float]) -> list[float]:
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()


def train_worker(config: dict[str, Any]) -> WorkError | None:
    """The function that Ray Train calls on every worker, at the start and again after each failure.

    Args:
        config: `{"worker": WorkerConfig}`.

    Returns:
        An error of the work itself, such as divergence. Raised, it would be retried, to be met again; and all
        workers meet it at the same place, so that none is left waiting for another.
    """
    try:
        _train(config["worker"])
    except StoreGoneError as error:
        if ray.train.get_context().get_world_size() > 1:
            raise  # the others may have got through just in time, and wait for this one: Ray ends them all
        return error  # it was waited for already
    except StoreError:
        raise  # perhaps of one worker only: Ray starts the group again, when the store may be back
    except WorkError as error:
        return error
    return None


def _train(worker: WorkerConfig) -> None:
    torch.set_num_threads(worker.threads)
    keep_freed_memory()
    store, ranks = Store(worker.store), DistributedRanks()
    ears = Ears(store, worker.attempt, ranks.rank == 0)  # before anybody can know that training has begun
    rows = load_rows(store, worker.data, worker.loader, ranks, worker.exclude)
    if ranks.rank == 0:
        with suppress(StoreError):  # a note, for which no worker may end alone and leave the others waiting
            note_choice(store, worker.attempt, rows.choice)
    train, val, scaler = rows.train, rows.val, rows.scaler
    net = build_net(worker.net, train.features, len(scaler.mean), worker.recipe.seed).to(ranks.device)
    optimizer = make_optimizer(net, worker.recipe)
    state = resume(store, worker, net, optimizer, ranks)
    gauges, timing = Gauges(worker.run.removeprefix("runs/")), Timing()

    def epoch_end(now: LoopState) -> bool:
        timing.epoch_end()
        # In the store before Ray is told of it: what Ray knows of can then always be picked up.
        lost = None
        if ranks.rank == 0:
            lost = save_or_rescue(store, worker.attempt, net, optimizer, now, scaler.as_json())
            gauges.tell(now.history[-1])
        if any(ranks.sum([float(lost is not None)])):  # all end together, none is left waiting
            raise lost or WorkError("The first worker could not write its checkpoint")
        ray.train.report({"epoch": now.epoch, "step": now.step, **now.history[-1]})
        return False

    notices = Notices(ranks, ears)

    def step_end(now: LoopState) -> None:
        if now.row < len(train) and notices.due():  # at an epoch's end there is a checkpoint anyway
            whole = replace(now, loss=summed(now.loss, len(scaler.mean), ranks))
            if ranks.rank == 0:
                _save_meanwhile(store, worker.attempt, net, optimizer, whole, scaler.as_json())

    feed = timing.watch(train)
    try:
        fit(net, feed, val, worker.recipe, ranks=ranks, state=state, optimizer=optimizer,
            step_end=step_end, epoch_end=epoch_end)  # fmt: skip
    except DivergedError as error:
        raise with_checkpoint(error, last_good(store, worker.run)) from error
    timing.keep(store, worker.attempt, ranks)


def _save_meanwhile(store: Store, attempt: str, *what: Any) -> None:
    """`save_checkpoint` in the middle of an epoch: where the store does not take it, the training may well go on."""
    try:
        save_checkpoint(store, attempt, *what)
    except StoreError as error:
        log.warning("a checkpoint in the middle of an epoch could not be written: %s", error)


def _readable(
    store: Store, worker: WorkerConfig, net: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> Found | None:
    """Restore from the newest checkpoint, or from the one before it where that is damaged; None where there is none."""
    damage: StoreError | None = None
    for found in complete_checkpoints(store, worker.run):
        try:
            restore(store, found, net, optimizer)
            return found
        except StoreGoneError:
            raise  # which says nothing against this checkpoint
        except StoreError as error:
            log.warning("a checkpoint is passed over: %s", error)
            damage = error
    if damage is not None:
        raise damage  # starting from nothing, unasked, would throw the training away
    return None


def resume(
    store: Store, worker: WorkerConfig, net: torch.nn.Module, optimizer: torch.optim.Optimizer, ranks: DistributedRanks
) -> LoopState:
    """Load the newest checkpoint that can be read into net and optimizer; the state where the loop goes on.

    The first worker chooses, for one that came later could see a newer checkpoint than the others did.
    """
    chosen: Found | None = ranks.from_first(lambda: _readable(store, worker, net, optimizer))
    if chosen is None:
        return LoopState()
    if ranks.rank != 0:
        restore(store, chosen, net, optimizer)
    state = chosen.state
    if ranks.rank != 0:
        state.loss = MeanErrors()  # the sum so far is counted once
    return state
