"""Training a net on a small target: the budget, which layers move how fast, and what comes out."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtlray.nn.features import Features
from xtlray.nn.members import FeatureNetMember, NetMember
from xtlray.nn.nets import build_net, resolve_net
from xtlray.nn.tensors import rounded
from xtlray.training.loop import Recipe, fit, make_optimizer
from xtlray.training.precision import device_here
from xtlray.training.table import Table
from xtlray.transfer.budget import BUDGETS, epochs_for
from xtlray.transfer.method import Config, Fitted, Setting
from xtlray.transfer.task import Task

WEIGHT_DECAY = 0.3  # as in pretraining: millions of weights on hundreds of rows
# A net on features is shallow: they are what seventeen layers, or a chemist, made of the composition already.
FEATURE_NET = resolve_net({"name": "elemnet", "hidden": (512, 256, 128, 64)})
# What is tried, the likeliest first: as many from scratch as carried over.
_SCRATCH: list[Config] = [
    {"lr": lr, "weight_decay": decay} for decay, lr in product((WEIGHT_DECAY, 0.1, 1.0), (1e-3, 2e-3, 5e-4, 2e-4))
]
_CARRIED: list[Config] = [
    {"lr": 1e-3},
    {"lr": 2e-3, "lr_decay": 0.7},
    {"lr": 1e-3, "frozen": 1},
    {"lr": 5e-4},
    {"lr": 1e-3, "lr_decay": 0.7},
    {"lr": 2e-3},
    {"lr": 2e-3, "frozen": 1},
    {"lr": 1e-3, "frozen": 2, "lr_decay": 0.7},
    {"lr": 2e-4},
    {"lr": 5e-4, "lr_decay": 0.5},
    {"lr": 1e-3, "lr_decay": 0.5},
    {"lr": 5e-4, "frozen": 2},
]


def net_configs(setting: Setting, carried: bool = False) -> list[Config]:
    """Ways to train, all with the one budget that fits the number of training rows.

    Of a net that is carried over (`carried`), also how many first layers stay frozen, and by what factor each layer
    learns slower than the next.
    """
    # Larger batches are little faster, and a few epochs of them are too few steps.
    batch = min(128, max(32, 2 ** round(math.log2(max(1, setting.rows) / 32))))
    shared = {"batch": batch, "epochs": epochs_for(setting.effort, setting.rows, batch), "weight_decay": WEIGHT_DECAY}
    plain = [{**shared, **way} for way in (_CARRIED if carried else _SCRATCH)[: BUDGETS[setting.effort].nets]]
    if not setting.long_tailed:
        return plain
    return [config for one in plain for config in (one, {**one, "warp": "log"})]


def fit_net(
    net: Any, h_train_BH: NDArray[np.float32], h_val_BH: NDArray[np.float32], task: Task, config: Config, seed: int
) -> list[dict[str, Any]]:
    """Train `net` in place on the task, on a GPU where the trial has a share of one; it ends on the processor.

    The held-out rows are watched, and decide nothing.

    Args:
        net: maps B × H to B × 1, scaled targets.
        h_train_BH: its input for the training rows.
        h_val_BH: its input for the held-out rows.
        task: the targets, and their scaler.
        config: `epochs`, `batch`, `lr`, `weight_decay`; `warp`, `frozen`, `lr_decay`.
        seed: of the order of rows.

    Returns:
        The history, errors in the target's unit; of warped targets in scaled units, under other names.
    """
    scaler = task.scaler(config.get("warp"))
    device = device_here()
    net.to(device)
    train, val = (
        Table.of(x, scaler.transform(y[:, None]), device)
        for x, y in ((h_train_BH, task.y_train_B), (h_val_BH, task.y_val_B))
    )
    recipe = Recipe(config["epochs"], config["batch"], config["lr"], seed, config["weight_decay"])
    scales = layer_rates(net, config.get("frozen", 0), config.get("lr_decay", 1.0))
    state = fit(net, train, val, recipe, optimizer=make_optimizer(net, recipe, scales))
    net.cpu()
    # Kept in 16 bits: half the library's size, and what is scored is what is kept.
    net.load_state_dict({name: rounded(value) for name, value in net.state_dict().items()})
    net.eval().requires_grad_(True)
    if scaler.warp:
        return [{**_without(h), "scaled_loss": h["loss"], "scaled_val": h["val"]} for h in state.history]
    scale = scaler.scale[0]
    return [{**h, "loss": h["loss"] * scale, "val": h["val"] * scale} for h in state.history]


def _without(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("loss", "val")}


def layer_rates(net: Any, frozen: int, decay: float) -> dict[int, float]:
    """The share of the learning rate that each parameter has, by its id; the first `frozen` layers stand still.

    After Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification", section 3.2.
    """
    stages = net.stages()
    scales: dict[int, float] = {}
    for i, stage in enumerate(stages):
        for parameter in stage:
            # The output layers always learn.
            parameter.requires_grad_(i >= min(frozen, len(stages) - 1))
            scales[id(parameter)] = decay ** (len(stages) - 1 - i)
    return scales


def fit_on_fractions(spec: dict[str, Any], net: Any, task: Task, config: Config, seed: int) -> Fitted:
    """A net on elemental fractions, trained in place."""
    train_BF, val_BF = (x[:, : task.fractions] for x in (task.x_train_BX, task.x_val_BX))
    history = fit_net(net, train_BF, val_BF, task, config, seed)
    return Fitted(NetMember(spec, net, task.scaler(config.get("warp")), fractions=task.fractions), history)


def fit_on_features(features: Features, task: Task, config: Config, seed: int) -> Fitted:
    """A fresh net, `config["net"]`, on features, each column standardised by the training rows."""
    h_train_BH, h_val_BH = task.columns(features)
    # In float64: in float32, rounding would give a column that is always the same a spread.
    center_H, spread_H = (f(axis=0, dtype=np.float64).astype(np.float32) for f in (h_train_BH.mean, h_train_BH.std))
    spread_H[spread_H <= 1e-6 * np.abs(center_H) + 1e-12] = 1.0  # a column that is always the same says nothing
    net = build_net(config["net"], len(center_H), 1, seed)
    train_BH, val_BH = ((h - center_H) / spread_H for h in (h_train_BH, h_val_BH))
    history = fit_net(net, train_BH, val_BH, task, config, seed)
    scaler = task.scaler(config.get("warp"))
    return Fitted(FeatureNetMember(features, config["net"], net, scaler, center_H, spread_H), history)
