"""`sc-ml-pa`: scikit-learn regressors on physical attributes."""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.transfer.headfit import fit_head, head_configs
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """The regressors of the job's effort."""
    return head_configs(setting)


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Fit one of them."""
    return fit_head(Features((Block("attributes"),), (), task.fractions), task, config, seed)


METHOD = Method("sc-ml-pa", "regressors on physical attributes", False, search, fit, needs_attributes=True)
