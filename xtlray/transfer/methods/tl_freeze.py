"""`tl-freeze`: a net on the last hidden layer of the source net, which stays as it is."""

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
    net = METHOD.source(sources)
    features = Features((Block("activations", net.net.n_hidden),), (net,), task.fractions)
    return fit_on_features(features, task, config, seed)


METHOD = Method("tl-freeze", "net on the source's last hidden layer", True, search, fit)
