"""`tl-ml-featextr`: a ridge regression on the activations of a layer of the source net.

After Gupta et al., Nat. Commun. 12, 6595 (2021): the source is a fixed feature extractor, the layer is searched.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xtlray.errors import RequestError
from xtlray.nn.members import HeadMember, NetMember
from xtlray.nn.nets import hidden_layers
from xtlray.training.metrics import mae
from xtlray.transfer.method import Config, Fitted, Method, Setting
from xtlray.transfer.task import Task

ALPHAS = tuple(float(a) for a in np.logspace(-2, 5, 15))


def search(setting: Setting) -> list[Config]:
    """For quick effort four layers: the first two, whose features are the most general, and two deeper ones.

    All layers for more effort.
    """
    if setting.source_net is None:
        raise RequestError("tl-ml-featextr needs a source model", fix="name one: source: oqmd-elemnet")
    depth = hidden_layers(setting.source_net)
    quick = {1, min(2, depth), max(1, depth // 3), max(1, 2 * depth // 3)}
    layers = sorted(quick) if setting.effort == "quick" else range(1, depth + 1)
    return [{"layer": layer} for layer in layers]


def fit(task: Task, source: NetMember | None, config: Config, seed: int) -> Fitted:
    """Ridge on standardised activations; its penalty is the one with the lowest validation error."""
    if source is None:
        raise RequestError("tl-ml-featextr needs a source model", fix="name one: source: oqmd-elemnet")
    h_train_BH = source.features(task.x_train_BF, config["layer"]).astype(np.float64)
    h_val_BH = source.features(task.x_val_BF, config["layer"]).astype(np.float64)
    tried = []
    for alpha in ALPHAS:
        head = make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(h_train_BH, task.y_train_B)
        tried.append((mae(task.y_val_B, head.predict(h_val_BH)), alpha, head))
    _, _, head = min(tried, key=lambda one: (one[0], one[1]))
    history = [{"alpha": a, "val_mae": e} for e, a, _ in tried]
    return Fitted(HeadMember(source, config["layer"], head), history)


METHOD = Method("tl-ml-featextr", "ridge regression on the source's activations", True, False, search, fit)
