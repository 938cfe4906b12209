"""`tl-dl-featextr`: a net on the activations of a layer of the source net, kept as it is; the layer is searched."""

from __future__ import annotations

from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.transfer.headfit import layers_to_try
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import FEATURE_NET, fit_on_features, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """The layers of the job's effort, each with the learning rates of a net from scratch."""
    layers = layers_to_try(METHOD.name, setting)
    return [{"net": FEATURE_NET, "layer": layer, **config} for layer in layers for config in net_configs(setting)]


def fit(task: Task, source: NetMember | None, config: Config, seed: int) -> Fitted:
    """Train a fresh net on one layer, each column standardised."""
    block = Block("activations", config["layer"])
    return fit_on_features(Features((block,), (METHOD.source(source),), task.fractions), task, config, seed)


METHOD = Method("tl-dl-featextr", "net on the source's activations", True, True, search, fit)
