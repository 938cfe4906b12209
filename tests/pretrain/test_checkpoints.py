"""Checkpoints: what is saved comes back, only complete ones count, the newest of any attempt is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from xtlray.errors import StoreError
from xtlray.nn.nets import build_net
from xtlray.pretrain.checkpoints import (
    OPTIMIZER,
    STATE,
    WEIGHTS,
    newest_checkpoint,
    open_checkpoint,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
    whole_checkpoint,
)
from xtlray.pretrain.trainer import EpochWatch
from xtlray.store import Store
from xtlray.training.loop import fit, make_optimizer
from xtlray.training.state import LoopState
from xtlray.training.table import Table

SCALER = {"mean": [1.0], "scale": [2.0]}


def trained(steps: int = 1) -> tuple[Any, torch.optim.Optimizer]:
    net = build_net(tiny.NET, 86, 1, seed=0)
    optimizer = make_optimizer(net, tiny.RECIPE)
    for _ in range(steps):
        net(torch.from_numpy(tiny.inputs(4))).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


def save(store: Store, attempt: int, step: int, epoch: int = 1) -> str:
    net, optimizer = trained()
    history = [{"epoch": n, "loss": 1.0, "val": None} for n in range(1, epoch + 1)]
    state = LoopState(epoch=epoch, step=step, history=history)
    return save_checkpoint(store, f"runs/r/attempts/{attempt}", net, optimizer, state, SCALER)


def attempts(store: Store, *numbers: int) -> None:
    for n in numbers:
        store.create_json(f"runs/r/attempts/{n}/environment.json", {})


def test_what_is_saved_comes_back(store: Store) -> None:
    net, optimizer = trained(3)
    state = LoopState(epoch=1, row=5, step=12, history=[{"epoch": 1, "loss": 0.5}])
    state.loss.add(torch.tensor([2.5]), torch.tensor([5]))
    folder = save_checkpoint(store, "runs/r/attempts/1", net, optimizer, state, SCALER)
    assert folder == "runs/r/attempts/1/checkpoints/000000012"

    found = open_checkpoint(store, folder)
    assert (found.state, found.scaler) == (state, SCALER)
    other = build_net(tiny.NET, 86, 1, seed=1)
    again = make_optimizer(other, tiny.RECIPE)
    restore_weights(store, found, other)
    restore_optimizer(store, found, again)
    for one, two in ((net, optimizer), (other, again)):  # another step leads both to the same place
        one(torch.from_numpy(tiny.inputs(4, seed=1))).sum().backward()
        two.step()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_training_resumed_from_the_store_ends_at_the_same_weights(store: Store) -> None:
    x_BF = tiny.inputs(20)
    train = Table.of(x_BF, 100 * x_BF[:, 3:4])
    whole = build_net(tiny.NET, 86, 1, seed=0)
    fit(whole, train, train, tiny.RECIPE)

    def interrupted(state: LoopState) -> bool:
        save_checkpoint(store, "runs/r/attempts/1", net, optimizer, state, SCALER)
        return state.epoch == 2

    attempts(store, 1)
    net = build_net(tiny.NET, 86, 1, seed=0)
    optimizer = make_optimizer(net, tiny.RECIPE)
    fit(net, train, train, tiny.RECIPE, optimizer=optimizer, epoch_end=interrupted)

    found = newest_checkpoint(store, "runs/r")
    assert found is not None
    again = build_net(tiny.NET, 86, 1, seed=9)
    optimizer = make_optimizer(again, tiny.RECIPE)
    restore_weights(store, found, again)
    restore_optimizer(store, found, optimizer)
    state = fit(again, train, train, tiny.RECIPE, state=found.state, optimizer=optimizer)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert [entry["epoch"] for entry in state.history] == [1, 2, 3]


def test_the_newest_of_any_attempt(store: Store) -> None:
    assert newest_checkpoint(store, "runs/r") is None
    attempts(store, 1, 2, 10)
    assert newest_checkpoint(store, "runs/r") is None
    save(store, 1, 8)
    save(store, 2, 100)
    save(store, 10, 12)
    found = newest_checkpoint(store, "runs/r")
    assert found is not None
    assert found.folder == "runs/r/attempts/2/checkpoints/000000100"
    save(store, 10, 100)
    found = newest_checkpoint(store, "runs/r")
    assert found is not None
    assert found.folder == "runs/r/attempts/10/checkpoints/000000100"


def test_one_with_damaged_weights_is_not_whole(store: Store) -> None:
    attempts(store, 1)
    assert whole_checkpoint(store, "runs/r") is None
    good, bad = save(store, 1, 4), save(store, 1, 8)
    store.delete([f"{bad}/{WEIGHTS}"])
    store.create(f"{bad}/{WEIGHTS}", b"damaged")
    found = whole_checkpoint(store, "runs/r")
    assert found is not None
    assert found.folder == good


def test_a_half_written_one_does_not_count(store: Store) -> None:
    attempts(store, 1)
    good = save(store, 1, 4)
    half = save(store, 1, 8)
    store.delete([f"{half}/{STATE}"])
    found = newest_checkpoint(store, "runs/r")
    assert found is not None
    assert found.folder == good
    store.delete([f"{half}/{WEIGHTS}"])
    store.create(f"{half}/{WEIGHTS}", b"half")  # the next try completes it
    assert save(store, 1, 8) == half
    restore_weights(store, open_checkpoint(store, half), build_net(tiny.NET, 86, 1, seed=0))


def test_two_are_kept(store: Store) -> None:
    attempts(store, 1)
    for step in range(4, 44, 4):
        save(store, 1, step)
    complete = [key for key in store.list("runs/r/attempts/1/checkpoints") if key.endswith(STATE)]
    assert [key.split("/")[-2] for key in complete] == ["000000036", "000000040"]
    assert len(store.list("runs/r/attempts/1/checkpoints")) == 6


def test_an_optimizer_of_another_net_is_refused(store: Store) -> None:
    folder = save(store, 1, 4)
    data = store.get(f"{folder}/{OPTIMIZER}")
    store.delete([f"{folder}/{OPTIMIZER}"])
    deeper = build_net({"name": "elemnet", "hidden": [8, 4, 4]}, 86, 1, seed=0)
    store.create(f"{folder}/{OPTIMIZER}", data)
    found = open_checkpoint(store, folder)
    with pytest.raises(StoreError, match="optimizer does not fit"):
        restore_optimizer(store, found, make_optimizer(deeper, tiny.RECIPE))
    with pytest.raises(StoreError, match="do not fit"):
        restore_weights(store, found, deeper)


def test_each_epoch_is_told_once(store: Store) -> None:
    told: list[tuple[int, float]] = []
    folder = "runs/r/attempts/1"
    with EpochWatch(store, folder, lambda entry, scale: told.append((entry["epoch"], scale)), every=0.01):
        save(store, 1, 4, epoch=1)
        save(store, 1, 12, epoch=3)
    assert told == [(1, 2.0), (2, 2.0), (3, 2.0)]


def test_epochs_of_earlier_attempts_are_not_told_again(store: Store) -> None:
    told: list[int] = []
    with EpochWatch(store, "runs/r/attempts/2", lambda entry, scale: told.append(entry["epoch"]), told=2):
        save(store, 2, 16, epoch=4)
    assert told == [3, 4]


def test_nothing_to_tell(store: Store) -> None:
    told: list[Any] = []
    with EpochWatch(store, "runs/r/attempts/1", lambda *words: told.append(words)):
        folder = save(store, 1, 4)
        store.delete([f"{folder}/{STATE}"])
    assert told == []


@pytest.mark.parametrize("left", [b"", b"{}", b'{"loop": {"epoch": 2}, "scaler": {}}'])
def test_a_state_that_a_power_cut_has_emptied_is_passed_over(store: Store, left: bytes) -> None:
    attempts(store, 1)
    older, newer = save(store, 1, 10), save(store, 1, 20, epoch=2)
    for folder, expected in ((newer, older), (older, None)):
        store.delete([f"{folder}/{STATE}"])
        store.create(f"{folder}/{STATE}", left)
        if expected:
            found = newest_checkpoint(store, "runs/r")
            assert found is not None
            assert found.folder == expected
        else:
            with pytest.raises(StoreError, match=STATE):  # not None: training is not to start anew unasked
                newest_checkpoint(store, "runs/r")
