"""Training a net on a small target: the budget, the best epoch by validation, and what comes out."""

from __future__ import annotations

import math
from typing import Any

import torch

from xtlray.nn.members import NetMember
from xtlray.training.loop import Recipe, fit, steps_per_epoch
from xtlray.training.state import LoopState
from xtlray.training.table import Table
from xtlray.transfer.method import Config, Fitted, Setting
from xtlray.transfer.task import Task

# Optimizer steps, most epochs and peak learning rates by effort. A step on a small batch costs the pass over the
# weights, whatever the rows: so the budget is in steps.
STEPS = {"quick": 1500, "standard": 3000, "full": 8000}
MOST_EPOCHS = {"quick": 100, "standard": 200, "full": 400}
RATES = {"quick": (5e-4,), "standard": (2e-4, 5e-4, 1e-3), "full": (1e-4, 2e-4, 5e-4, 1e-3)}
FEWEST_EPOCHS = 15
WEIGHT_DECAY = 0.3  # as in pretraining: millions of weights on hundreds of rows


def net_configs(setting: Setting) -> list[Config]:
    """Learning rates × one budget that fits the number of training rows."""
    batch = min(256, max(32, 2 ** round(math.log2(max(1, setting.rows) / 32))))
    per_epoch = steps_per_epoch(setting.rows, batch)
    epochs = min(MOST_EPOCHS[setting.effort], max(FEWEST_EPOCHS, round(STEPS[setting.effort] / per_epoch)))
    shared = {"batch": batch, "epochs": epochs, "weight_decay": WEIGHT_DECAY}
    return [{"lr": lr, **shared} for lr in RATES[setting.effort]]


def fit_net(spec: dict[str, Any], net: Any, task: Task, config: Config, seed: int) -> Fitted:
    """Train `net` in place on the task and keep the weights of the epoch with the lowest validation error."""
    scaler = task.scaler
    train, val = (
        Table.of(x, scaler.transform(y[:, None]))
        for x, y in ((task.x_train_BF, task.y_train_B), (task.x_val_BF, task.y_val_B))
    )
    recipe = Recipe(config["epochs"], config["batch"], config["lr"], seed, config["weight_decay"])
    best: dict[str, Any] = {"val": math.inf}

    def epoch_end(state: LoopState) -> bool:
        val_error = state.history[-1]["val"]
        if val_error < best["val"]:
            best.update(val=val_error, weights={k: v.clone() for k, v in net.state_dict().items()})
        return False

    state = fit(net, train, val, recipe, epoch_end=epoch_end)
    if "weights" in best:
        net.load_state_dict(best["weights"])
    with torch.no_grad():
        member = NetMember(spec, net.eval(), scaler)
    scale = scaler.scale[0]
    history = [{**h, "loss": h["loss"] * scale, "val": h["val"] * scale} for h in state.history]
    return Fitted(member, history)
