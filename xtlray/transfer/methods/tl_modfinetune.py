"""`tl-modfinetune`: as `tl-finetune`, but with a fresh last layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from xtlray.nn.members import NetMember
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import fit_on_fractions, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """As many as the net from scratch has: equal effort on both sides."""
    return net_configs(setting, carried=True)


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Train all weights, the last layer's from new initial values."""
    origin = METHOD.source(sources)
    net = copy.deepcopy(origin.net).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net.renew_outputs(1)
    return fit_on_fractions(origin.spec, net, task, config, seed)


METHOD = Method("tl-modfinetune", "the same with a fresh last layer", True, search, fit)
