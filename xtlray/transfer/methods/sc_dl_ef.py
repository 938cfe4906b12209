"""`sc-dl-ef`: a net trained from scratch on elemental fractions."""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.members import NetMember
from xtlray.nn.nets import build_net
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import fit_on_fractions, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """Learning rates, all with the same budget."""
    return [{"net": setting.net, **config} for config in net_configs(setting)]


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Train all weights from their initial values."""
    net = build_net(config["net"], task.fractions, 1, seed)
    return fit_on_fractions(config["net"], net, task, config, seed)


METHOD = Method("sc-dl-ef", "net from scratch on elemental fractions", False, search, fit)
