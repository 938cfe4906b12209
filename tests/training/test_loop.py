"""The training loop: it learns, walks one path whatever the number of workers, and goes on where it stood."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.errors import WorkError
from xtlray.nn.nets import build_net
from xtlray.training.loop import (
    Recipe,
    evaluate,
    fit,
    make_optimizer,
    set_lr,
    steps_per_epoch,
    train_step,
)
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import Batch, Table

NONE = Table.of(tiny.inputs(0), np.zeros((0, 1)))


def table(rows: int = 30, seed: int = 0) -> Table:
    x_BF = tiny.inputs(rows, seed)
    y_B = 100 * (x_BF[:, 3] - x_BF[:, 10])
    return Table.of(x_BF, y_B[:, None])


def fresh(seed: int = 0) -> Any:
    return build_net(tiny.NET, 86, 1, seed)


def weights(net: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


# --- learning --------------------------------------------------------------------------------------------------------


def test_a_net_overfits_ten_rows() -> None:
    net = build_net({"name": "elemnet", "hidden": [64, 32]}, 86, 1, seed=0)
    ten = Table.of(tiny.inputs(10), np.random.default_rng(1).standard_normal((10, 1)))
    state = fit(net, ten, ten, Recipe(400, 10, 1e-2, 0, weight_decay=0, precision="float32"))
    assert state.history[0]["loss"] > 0.5
    assert state.history[-1]["val"] < 0.02


def test_the_loss_falls_and_the_history_says_how() -> None:
    net = fresh()
    state = fit(net, table(), table(12, 1), replace(tiny.RECIPE, epochs=12, lr=5e-2))
    assert [entry["epoch"] for entry in state.history] == list(range(1, 13))
    assert [entry["step"] for entry in state.history] == [4 * n for n in range(1, 13)]  # 30 rows by 8
    losses = [entry["loss"] for entry in state.history]
    assert losses[-1] < 0.9 * losses[0]
    assert all(entry["seconds"] > 0 for entry in state.history)
    assert [entry["rows"] for entry in state.history] == [30] * 12
    assert (state.epoch, state.row, state.step, state.loss.counts) == (12, 0, 48, [])


def test_the_figures_of_an_epoch_are_mean_absolute_errors() -> None:
    net, train, val = fresh(), table(), table(12, 1)
    still = replace(tiny.RECIPE, epochs=1, lr=1e-30, weight_decay=0)
    with torch.inference_mode():
        loss, error = (float((net(t.x_BF) - t.y_BP).abs().mean()) for t in (train, val))
    (entry,) = fit(net, train, val, still).history
    assert entry["loss"] == pytest.approx(loss, rel=1e-5)
    assert entry["val"] == pytest.approx(error, rel=1e-5)


def test_without_validation_rows_there_is_no_validation_error() -> None:
    assert evaluate(fresh(), NONE, Ranks(), tiny.RECIPE).counts == [0.0]
    assert fit(fresh(), table(), NONE, replace(tiny.RECIPE, epochs=1)).history[0]["val"] is None


def test_rates_go_by_the_epoch_where_the_number_of_rows_has_changed() -> None:
    """A stream of several properties has a row per label, a table one per composition."""
    recipe = replace(tiny.RECIPE, epochs=6)
    state = fit(fresh(), table(30), NONE, recipe, epoch_end=lambda state: state.epoch == 3)
    changed = fit(fresh(), table(90), NONE, recipe, state=LoopState.from_json(state.as_json()))
    plain = fit(fresh(), table(90), NONE, recipe)
    assert [entry["lr"] for entry in changed.history[3:]] == [entry["lr"] for entry in plain.history[3:]]
    assert changed.step == 3 * 4 + 3 * 12


def test_an_epoch_can_be_the_last_one() -> None:
    state = fit(fresh(), table(), NONE, tiny.RECIPE, epoch_end=lambda state: state.epoch == 2)
    assert state.epoch == 2


def test_bfloat16_walks_nearly_the_same_path() -> None:
    losses = [
        fit(fresh(), table(), NONE, replace(tiny.RECIPE, precision=precision)).history[-1]["loss"]
        for precision in ("float32", "bf16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


def test_gains_of_norms_do_not_decay() -> None:
    net = build_net({"name": "deepsets", "width": 4, "blocks": 1, "inner": 4}, 86, 1, seed=0)
    decaying, others = make_optimizer(net, tiny.RECIPE).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (tiny.RECIPE.weight_decay, 0.0)
    assert len(others["params"]) == 4  # of two norms
    assert len(decaying["params"]) + 4 == len(list(net.parameters()))
    assert len(make_optimizer(fresh(), tiny.RECIPE).param_groups) == 1


def test_each_group_scales_the_learning_rate() -> None:
    net = fresh()
    groups = [{"params": net.hidden.parameters(), "lr_scale": 0.1}, {"params": net.output.parameters()}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "batch", "expected"), [(30, 8, 4), (32, 8, 4), (33, 8, 5), (1, 8, 1), (0, 8, 0)])
def test_steps(rows: int, batch: int, expected: int) -> None:
    assert steps_per_epoch(rows, batch) == expected
    assert len(list(table(rows).epoch(0, batch, LoopState(), Ranks()))) == expected


# --- workers ---------------------------------------------------------------------------------------------------------


class Together(Ranks):
    """One of several workers that are threads of this process; gradients and sums meet at a barrier."""

    def __init__(self, rank: int, world: int, shared: dict[str, Any]) -> None:
        self.rank, self.world, self.shared = rank, world, shared

    def wrap(self, net: Any) -> Any:
        self.net = net
        return net

    def exchange(self, value: Any) -> list[Any]:
        self.shared["values"][self.rank] = value
        self.shared["barrier"].wait(10)
        values = list(self.shared["values"])
        self.shared["barrier"].wait(10)
        return values

    def sum(self, values: list[float]) -> list[float]:
        return [sum(column) for column in zip(*self.exchange(values), strict=True)]

    def average_gradients(self) -> None:
        """What DistributedDataParallel does: the mean over the workers."""
        grads = self.exchange([p.grad.clone() for p in self.net.parameters()])
        for k, parameter in enumerate(self.net.parameters()):
            parameter.grad = sum(g[k] for g in grads) / self.world


def trained_by(
    world: int, recipe: Recipe, train: Table, val: Table, outputs: int = 1
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Weights and history of a training by so many workers."""
    shared: dict[str, Any] = {"values": [None] * world, "barrier": threading.Barrier(world)}
    nets = [build_net(tiny.NET, 86, outputs, seed=0) for _ in range(world)]
    done: dict[int, LoopState] = {}

    def work(rank: int) -> None:
        ranks = Together(rank, world, shared)
        ranks.net = nets[rank]
        optimizer = make_optimizer(nets[rank], recipe)
        optimizer.register_step_pre_hook(lambda *_: ranks.average_gradients())
        done[rank] = fit(nets[rank], train, val, recipe, ranks=ranks, optimizer=optimizer)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(done) == world
    assert all(torch.equal(weights(nets[0]), weights(net)) for net in nets)
    return weights(nets[0]), done[0].history


@pytest.mark.parametrize("world", [2, 3, 7])
def test_any_number_of_workers_walks_the_same_path(world: int) -> None:
    """25 rows by 8: the last batch holds a single row, so that most workers have none of it."""
    train, val = table(25), table(5, 1)
    one, history = trained_by(1, tiny.RECIPE, train, val)
    several, others = trained_by(world, tiny.RECIPE, train, val)
    assert not torch.equal(one, weights(fresh()))
    assert torch.allclose(one, several, atol=2e-5)
    for entry, other in zip(history, others, strict=True):
        assert other["loss"] == pytest.approx(entry["loss"], rel=1e-5)
        assert other["val"] == pytest.approx(entry["val"], rel=1e-5)


def test_a_gradient_of_three_workers_by_hand() -> None:
    """8 rows over 3 workers are 2, 3 and 3: the mean of their weighted gradients is that of the whole batch."""
    train, rows = table(8), torch.arange(8)

    class Kept(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            grads.append([p.grad.clone() for p in self.param_groups[0]["params"]])

    grads: list[list[torch.Tensor]] = []
    for rank, world in ((0, 1), (0, 3), (1, 3), (2, 3)):
        net, ranks = fresh(), Together(rank, world, {})
        mine = Batch(*train.take(ranks.share(rows)), rows=8)
        train_step(net, Kept(net.parameters(), lr=1.0), mine, tiny.RECIPE, ranks)
    for whole, *parts in zip(*grads, strict=True):
        assert torch.allclose(whole, sum(parts) / 3, atol=1e-6)


# --- several properties ----------------------------------------------------------------------------------------------


def two_properties(world: int) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """25 rows; the second property is known for every third row only."""
    train, val = table(25), table(6, 1)
    tables = []
    for one in (train, val):
        second_B = torch.where(torch.arange(len(one)) % 3 == 0, one.y_BP[:, 0] * 2, torch.nan)
        tables.append(Table(one.x_BF, torch.stack([one.y_BP[:, 0], second_B], dim=1)))
    return trained_by(world, tiny.RECIPE, tables[0], tables[1], outputs=2)


def test_missing_labels_are_masked_the_same_by_any_number_of_workers() -> None:
    (one, history), (several, others) = two_properties(1), two_properties(3)
    assert torch.allclose(one, several, atol=2e-5)
    for entry, other in zip(history, others, strict=True):
        assert entry["loss"] == entry["losses"][0]
        assert entry["val"] == entry["vals"][0]
        assert other["losses"] == pytest.approx(entry["losses"], rel=1e-5)
        assert other["vals"] == pytest.approx(entry["vals"], rel=1e-5)


def test_a_missing_label_has_no_gradient_and_no_error() -> None:
    net = build_net(tiny.NET, 86, 2, seed=0)
    rows = table(4)
    y_BP = torch.stack([rows.y_BP[:, 0], torch.full((4,), torch.nan)], dim=1)
    still = torch.optim.SGD(net.parameters(), lr=0.0)
    still.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
    total_P, count_P = train_step(net, still, Batch(rows.x_BF, y_BP, 4), tiny.RECIPE, Ranks())
    assert count_P.tolist() == [4, 0]
    assert total_P[1] == 0
    assert net.output.weight.grad[0].abs().sum() > 0
    assert net.output.weight.grad[1].abs().sum() == 0


def test_an_epoch_without_labels_of_a_property_says_so() -> None:
    rows = table(8)
    half = Table(rows.x_BF, torch.stack([rows.y_BP[:, 0], torch.full((8,), torch.nan)], dim=1))
    net = build_net(tiny.NET, 86, 2, seed=0)
    (entry,) = fit(net, half, half, replace(tiny.RECIPE, epochs=1)).history
    assert entry["losses"][1] is None
    assert entry["vals"] == [entry["val"], None]


# --- resuming --------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 11])
def test_a_training_resumed_at_any_step_ends_at_the_same_weights(steps: int) -> None:
    """Four steps an epoch, three epochs; the fourth step ends an epoch."""
    train, val, recipe = table(), table(8, 1), tiny.RECIPE
    whole = fresh()
    expected = fit(whole, train, val, recipe)

    net, state = fresh(), LoopState()
    optimizer = make_optimizer(net, recipe)

    def stop(now: LoopState) -> None:
        if now.step == steps:
            raise Stopped

    with pytest.raises(Stopped):
        fit(net, train, val, recipe, state=state, optimizer=optimizer, step_end=stop)
    assert state.step == steps

    again = fit(net, train, val, recipe, state=LoopState.from_json(state.as_json()), optimizer=optimizer)
    assert torch.equal(weights(net), weights(whole))
    assert [entry["loss"] for entry in again.history] == [entry["loss"] for entry in expected.history]


def test_a_state_at_the_end_of_an_epoch_that_was_not_closed() -> None:
    """A checkpoint can be written after an epoch's last step too."""
    net = fresh()
    state = LoopState(epoch=0, row=30, step=4)
    state.loss.add(torch.tensor([60.0]), torch.tensor([30]))
    fit(net, table(), NONE, replace(tiny.RECIPE, epochs=1), state=state)
    assert state.history[0]["loss"] == 2.0
    assert (state.epoch, state.step) == (1, 4)
    assert torch.equal(weights(net), weights(fresh()))


def test_the_seconds_of_an_epoch_are_those_of_all_attempts_at_it() -> None:
    state = LoopState.from_json(LoopState(row=8, step=1, seconds=100.0).as_json())
    history = fit(fresh(), table(), NONE, tiny.RECIPE, state=state).history
    assert [entry["seconds"] > 100 for entry in history] == [True, False, False]


def test_a_checkpoint_that_knows_no_seconds_is_read_too() -> None:
    old = {name: value for name, value in LoopState(row=8, step=1).as_json().items() if name != "seconds"}
    assert LoopState.from_json(old) == LoopState(row=8, step=1, seconds=3.0)


def test_a_finished_training_is_left_alone() -> None:
    net = fresh()
    state = fit(net, table(), NONE, tiny.RECIPE, state=LoopState(epoch=3))
    assert state.history == []
    assert torch.equal(weights(net), weights(fresh()))


# --- what goes wrong -------------------------------------------------------------------------------------------------


def infinite_target(train: Table) -> Table:
    y_BP = train.y_BP.clone()
    y_BP[7] = torch.inf
    return Table(train.x_BF, y_BP)


@pytest.mark.parametrize(
    ("change", "val", "recipe", "epoch"),
    [
        (infinite_target, NONE, tiny.RECIPE, 1),
        (copy.copy, NONE, replace(tiny.RECIPE, lr=1e30), 1),
        # The only step's loss is a number, the weights after it are none: the validation error shows it.
        (copy.copy, table(8, 1), Recipe(1, 30, 1e38, 0, precision="float32"), 1),
    ],
)
def test_a_training_that_diverges_names_epoch_and_learning_rate(
    change: Callable[[Table], Table], val: Table, recipe: Recipe, epoch: int
) -> None:
    with pytest.raises(WorkError, match=rf"diverged.*epoch {epoch}, learning rate [\d.]+") as caught:
        fit(fresh(), change(table()), val, recipe)
    assert "lower lr" in str(caught.value)
