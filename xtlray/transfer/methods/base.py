"""`base`: the mean of the training targets, which every model has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.members import ConstantMember, NetMember
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """There is nothing to choose."""
    return [{}]


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """The mean, in the target's unit."""
    return Fitted(ConstantMember(float(task.y_train_B.mean())))


METHOD = Method("base", "mean of the training targets", needs_source=False, search=search, fit=fit)
