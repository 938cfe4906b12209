"""`tl-dl-featextr`: a net on the activations of a layer of the source net, which stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.transfer.headfit import on_layers
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import FEATURE_NET, fit_on_features, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """As many as a net from scratch has, each on one layer; the layers go round."""
    return [{"net": FEATURE_NET, **config} for config in on_layers(net_configs(setting), setting)]


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Train a fresh net on one layer, each column standardised."""
    block = Block("activations", config["layer"])
    return fit_on_features(Features((block,), (METHOD.source(sources),), task.fractions), task, config, seed)


METHOD = Method("tl-dl-featextr", "net on the source's activations", True, search, fit)
