"""`tl-ml-featextr`: scikit-learn regressors on the activations of a layer of the source net.

After Gupta et al., Nat. Commun. 12, 6595 (2021): the source is a fixed feature extractor, the layer is searched.
"""

from __future__ import annotations

from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.transfer.headfit import fit_head, layers_to_try
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """The layers of the job's effort, each with the regressors of that effort."""
    layers = layers_to_try(METHOD.name, setting)
    return [{"layer": layer, "regressor": name} for layer in layers for name in setting.regressors]


def fit(task: Task, source: NetMember | None, config: Config, seed: int) -> Fitted:
    """Fit one of them on one layer."""
    block = Block("activations", config["layer"])
    return fit_head(Features((block,), (METHOD.source(source),), task.fractions), task, config["regressor"], seed)


METHOD = Method("tl-ml-featextr", "regressors on the source's activations", True, False, search, fit)
