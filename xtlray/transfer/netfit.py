"""Training a net on a small target: the budget, the best epoch by validation, and what comes out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtlray.nn.features import Features
from xtlray.nn.members import FeatureNetMember, NetMember
from xtlray.nn.nets import build_net, resolve_net
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
# A net on features is shallow: they are what seventeen layers, or a chemist, made of the composition already.
FEATURE_NET = resolve_net({"name": "elemnet", "hidden": (512, 256, 128, 64)})


def net_configs(setting: Setting) -> list[Config]:
    """Learning rates × one budget that fits the number of training rows."""
    batch = min(256, max(32, 2 ** round(math.log2(max(1, setting.rows) / 32))))
    per_epoch = steps_per_epoch(setting.rows, batch)
    epochs = min(MOST_EPOCHS[setting.effort], max(FEWEST_EPOCHS, round(STEPS[setting.effort] / per_epoch)))
    shared = {"batch": batch, "epochs": epochs, "weight_decay": WEIGHT_DECAY}
    return [{"lr": lr, **shared} for lr in RATES[setting.effort]]


def fit_net(
    net: Any, h_train_BH: NDArray[np.float32], h_val_BH: NDArray[np.float32], task: Task, config: Config, seed: int
) -> list[dict[str, Any]]:
    """Train `net` in place on the task and keep the weights of the epoch with the lowest validation error.

    Args:
        net: maps B × H to B × 1, scaled targets.
        h_train_BH: its input for the training rows.
        h_val_BH: its input for the validation rows.
        task: the targets, and their scaler.
        config: `epochs`, `batch`, `lr`, `weight_decay`.
        seed: of the order of rows.

    Returns:
        The history, errors in the target's unit.
    """
    scaler = task.scaler
    train, val = (
        Table.of(x, scaler.transform(y[:, None])) for x, y in ((h_train_BH, task.y_train_B), (h_val_BH, task.y_val_B))
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
    net.eval()
    scale = scaler.scale[0]
    return [{**h, "loss": h["loss"] * scale, "val": h["val"] * scale} for h in state.history]


def fit_on_fractions(spec: dict[str, Any], net: Any, task: Task, config: Config, seed: int) -> Fitted:
    """A net on elemental fractions, trained in place."""
    train_BF, val_BF = (x[:, : task.fractions] for x in (task.x_train_BX, task.x_val_BX))
    history = fit_net(net, train_BF, val_BF, task, config, seed)
    return Fitted(NetMember(spec, net, task.scaler, fractions=task.fractions), history)


def fit_on_features(features: Features, task: Task, config: Config, seed: int) -> Fitted:
    """A fresh net, `config["net"]`, on features, each column standardised by the training rows."""
    h_train_BH, h_val_BH = features.of(task.x_train_BX), features.of(task.x_val_BX)
    center_H, spread_H = h_train_BH.mean(axis=0), h_train_BH.std(axis=0)
    spread_H[spread_H <= 1e-6 * np.abs(center_H) + 1e-12] = 1.0  # a column that is always the same says nothing
    net = build_net(config["net"], len(center_H), 1, seed)
    train_BH, val_BH = ((h - center_H) / spread_H for h in (h_train_BH, h_val_BH))
    history = fit_net(net, train_BH, val_BH, task, config, seed)
    return Fitted(FeatureNetMember(features, config["net"], net, task.scaler, center_H, spread_H), history)
