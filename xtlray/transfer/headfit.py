"""A scikit-learn regressor as the head of a model: which ones, on which layers, fitted how, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from xtlray.nn.features import Features
from xtlray.nn.members import HeadMember
from xtlray.nn.nets import hidden_layers
from xtlray.transfer.budget import BUDGETS, FEW_ROWS
from xtlray.transfer.method import Config, Fitted, Setting
from xtlray.transfer.regressors import get_regressor, search
from xtlray.transfer.task import Task

_LEARNED = 20.0  # rounds of boosting × learning rate


def head_configs(setting: Setting) -> list[Config]:
    """Regressors of the job with their settings: each regressor's first ones, then the second ones, as many as it may.

    Where a few targets reach far, each is tried on their logarithms too.
    """
    by_regressor = [
        [{"regressor": name, "settings": settings} for settings in _variants(name, setting)]
        for name in setting.regressors
    ]
    plain = [config for turn in zip_longest(*by_regressor) for config in turn if config]
    plain = plain[: BUDGETS[setting.effort].heads[setting.rows < FEW_ROWS]]
    if not setting.long_tailed:
        return plain
    return [config for one in plain for config in (one, {**one, "warp": "log"})]


def _variants(name: str, setting: Setting) -> list[dict[str, Any]]:
    """Where most targets are one value, trees on absolute errors never leave it: those on squares come first."""
    variants = [dict(variant) for variant in get_regressor(name).variants]
    if name != "gradient_boosting":
        return variants
    trees = BUDGETS[setting.effort].trees
    boosted = [{**variant, "learning_rate": _LEARNED / trees, "max_iter": trees} for variant in variants]
    return sorted(boosted, key=lambda v: setting.mostly_one_value and v["loss"] == "absolute_error")


def layer_configs(setting: Setting) -> list[Config]:
    """As many as `head_configs`, each on one layer of the source."""
    return on_layers(head_configs(setting), setting)


def on_layers(configs: Sequence[Config], setting: Setting) -> list[Config]:
    """Each configuration on one layer of the source; the layers go round. With and without a warp it is the same."""
    layers = layers_in_turn(hidden_layers(setting.source_nets[0]))
    turns = 1 + setting.long_tailed
    return [{**config, "layer": layers[i // turns % len(layers)]} for i, config in enumerate(configs)]


def layers_in_turn(depth: int) -> list[int]:
    """All hidden layers, an early one, a late one, the last, the first and the middle before others.

    The early one comes first: of a deep net pretrained on another property, later layers know little else.
    """
    first = dict.fromkeys([(depth + 3) // 4, (3 * depth + 3) // 4, depth, 1, (depth + 1) // 2])
    return list(dict.fromkeys([*first, *range(1, depth + 1)]))


def fit_head(features: Features, task: Task, config: Config, seed: int) -> Fitted:
    """A regressor on features. Its answers are kept within the range of the training targets."""
    h_train_BH, _ = task.columns(features)
    y_B = task.y_train_B
    scaler = task.scaler(config["warp"]) if config.get("warp") else None
    wanted_B = y_B if scaler is None else scaler.transform(y_B[:, None])[:, 0]
    estimator, tried = search(config["regressor"], config["settings"], h_train_BH, wanted_B, seed)
    bounds = float(y_B.min()), float(y_B.max())
    return Fitted(HeadMember(features, estimator, bounds, scaler), tried)
