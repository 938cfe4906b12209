"""A scikit-learn regressor as the head of a model: on which layers, fitted how, and what comes out."""

from __future__ import annotations

from xtlray.errors import RequestError
from xtlray.nn.features import Features
from xtlray.nn.members import HeadMember
from xtlray.nn.nets import hidden_layers
from xtlray.transfer.method import Fitted, Setting
from xtlray.transfer.regressors import search
from xtlray.transfer.task import Task


def fit_head(features: Features, task: Task, regressor: str, seed: int) -> Fitted:
    """A regressor on features; of the settings in its grid, that with the lowest validation error.

    Its answers are kept within the range of the training targets.
    """
    h_train_BH, h_val_BH = features.of(task.x_train_BX), features.of(task.x_val_BX)
    estimator, tried = search(regressor, h_train_BH, task.y_train_B, h_val_BH, task.y_val_B, seed)
    bounds = float(task.y_train_B.min()), float(task.y_train_B.max())
    return Fitted(HeadMember(features, estimator, bounds), tried)


def layers_to_try(method: str, setting: Setting) -> list[int]:
    """For quick effort four layers: the first two, whose features are the most general, and two deeper ones.

    Six for standard effort, evenly spaced with the first and the last; all of them for full effort. Raises
    `RequestError` without a source.
    """
    if setting.source_net is None:
        raise RequestError(f"{method} needs a source model", fix="name one: source: oqmd-elemnet")
    depth = hidden_layers(setting.source_net)
    if setting.effort == "full":
        return list(range(1, depth + 1))
    if setting.effort == "standard":
        return sorted({1 + round(i * (depth - 1) / 5) for i in range(6)})
    return sorted({1, min(2, depth), max(1, depth // 3), max(1, 2 * depth // 3)})
