"""`tl-finetune`: all weights of a source net carried over, then trained on the target."""

from __future__ import annotations

import copy

from xtlray.errors import RequestError
from xtlray.nn.members import NetMember
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import fit_net, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """The same search as the net from scratch has: equal effort on both sides."""
    return list(net_configs(setting))


def fit(task: Task, source: NetMember | None, config: Config, seed: int) -> Fitted:
    """Train all weights from the source's."""
    if source is None:
        raise RequestError("tl-finetune needs a source model", fix="name one: source: oqmd-elemnet")
    net = copy.deepcopy(source.net).train()
    return fit_net(source.spec, net, task, config, seed)


METHOD = Method("tl-finetune", "all weights of a source net, fine-tuned", True, True, search, fit)
