"""`tl-ml-featextr`: scikit-learn regressors on the activations of a layer of the source net.

After Gupta et al., Nat. Commun. 12, 6595 (2021): the source is a fixed feature extractor, the layer is searched.
"""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.transfer.headfit import fit_head, layer_configs
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """As many as the regressors from scratch have; the layers go round."""
    return layer_configs(setting)


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Fit one of them on one layer."""
    block = Block("activations", config["layer"])
    return fit_head(Features((block,), (METHOD.source(sources),), task.fractions), task, config, seed)


METHOD = Method("tl-ml-featextr", "regressors on the source's activations", True, search, fit)
