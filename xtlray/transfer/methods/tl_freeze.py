"""`tl-freeze`: a net on the last hidden layer of the source net, which stays as it is."""

from __future__ import annotations

from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import FEATURE_NET, fit_on_features, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """The learning rates of a net from scratch."""
    return [{"net": FEATURE_NET, **config} for config in net_configs(setting)]


def fit(task: Task, source: NetMember | None, config: Config, seed: int) -> Fitted:
    """Train a fresh net on the last layer, each column standardised."""
    net = METHOD.source(source)
    return fit_on_features(
        Features((Block("activations", net.net.n_hidden),), (net,), task.fractions), task, config, seed
    )


METHOD = Method("tl-freeze", "net on the source's last hidden layer", True, True, search, fit)
