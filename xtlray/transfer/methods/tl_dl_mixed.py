"""`tl-dl-mixed`: a net on all that is known of a composition, side by side.

Elemental fractions, physical attributes, and of each source its answers and the activations of its last hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.features import everything
from xtlray.nn.members import NetMember
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.netfit import FEATURE_NET, fit_on_features, net_configs
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """As a net from scratch, all with the same budget."""
    return [{"net": FEATURE_NET, **config} for config in net_configs(setting)]


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Train all weights from their initial values, on standardised columns."""
    METHOD.source(sources)
    return fit_on_features(everything(sources, task.fractions), task, config, seed)


METHOD = Method("tl-dl-mixed", "net on all inputs", True, search, fit, needs_attributes=True, joins_sources=True)
