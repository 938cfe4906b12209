"""`sc-dl-pa`: a net trained from scratch on physical attributes."""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import FEATURE_NET, fit_on_features, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """As a net from scratch, all with the same budget."""
    return [{"net": FEATURE_NET, **config} for config in net_configs(setting)]


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Train all weights from their initial values, on standardised columns."""
    return fit_on_features(Features((Block("attributes"),), (), task.fractions), task, config, seed)


METHOD = Method("sc-dl-pa", "net from scratch on physical attributes", False, search, fit, needs_attributes=True)
