"""`tl-ml-mixed`: scikit-learn regressors on all that is known of a composition, side by side.

Elemental fractions, physical attributes, and of each source its answers and the activations of its last hidden layer.
Where the transfer of Gupta et al. (2021) lost, it was to models that had physical attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.nn.features import everything
from xtlray.nn.members import NetMember
from xtlray.transfer.headfit import fit_head, head_configs
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.regressors import TREES
from xtlray.transfer.task import Task


def search(setting: Setting) -> list[Config]:
    """The regressors of the job's effort; trees read the answers alone, as hundreds of activations would drown them."""
    return head_configs(setting)


def fit(task: Task, sources: Sequence[NetMember], config: Config, seed: int) -> Fitted:
    """Fit one of them."""
    METHOD.source(sources)
    features = everything(sources, task.fractions, activations=config["regressor"] not in TREES)
    return fit_head(features, task, config, seed)


METHOD = Method("tl-ml-mixed", "regressors on all inputs", True, search, fit, needs_attributes=True, joins_sources=True)
