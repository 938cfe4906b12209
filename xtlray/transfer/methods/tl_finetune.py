"""`tl-finetune`: all weights of a source net carried over, then trained on the target.

A source with several outputs keeps one: the configuration names its property as `head`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from xtlray.errors import unknown
from xtlray.nn.members import NetMember
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import fit_on_fractions, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """As many as the net from scratch has: equal effort on both sides."""
    head = {"head": setting.head} if setting.head else {}
    return [{**config, **head} for config in net_configs(setting, carried=True)]


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Train all weights from the source's."""
    origin = METHOD.source(sources)
    net = copy.deepcopy(origin.net).train()
    if origin.outputs > 1:
        net.keep_outputs([output_of(origin, config.get("head"))])
    return fit_on_fractions(origin.spec, net, task, config, seed)


def output_of(source: NetMember, head: str | None) -> int:
    """The place of a property among the source's outputs; None is the first. Raises `RequestError` for another's."""
    names = [each.property for each in source.heads]
    if head is not None and head not in names:
        raise unknown("head of the source model", head, names)
    return 0 if head is None else names.index(head)


METHOD = Method("tl-finetune", "all weights of a source net, fine-tuned", True, search, fit)
