"""The field of scikit-learn regressors that methods try on features: by name, with the small grid that each searches.

They are those of Gupta et al., Nat. Commun. 12, 6595 (2021). Linear ones, neighbours and SVR see standardised columns.
Where a regressor can minimise the absolute error, which is what models are judged by, it does.

Shape suffixes: B rows, H features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge, SGDRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from xtlray.errors import unknown
from xtlray.training.metrics import mae

Array = NDArray[np.float64]
# Trees of forests end in leaves of two rows at least, for the size of the file.
LEAF = 2


@dataclass(frozen=True)
class Regressor:
    """An entry of the field.

    Attributes:
        make: settings and a seed → an unfitted estimator.
        grid: settings to try, each against the others; the one with the lowest validation error stays.
        seeded: whether the seed changes its outcome.
        scaled: whether it wants standardised columns, and standardised targets.
    """

    make: Callable[[dict[str, Any], int], Any]
    grid: Mapping[str, Sequence[Any]]
    seeded: bool = False
    scaled: bool = False

    def settings(self) -> Iterator[dict[str, Any]]:
        """Each point of the grid."""
        for values in product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


def _plain(kind: Any, **fixed: Any) -> Callable[[dict[str, Any], int], Any]:
    return lambda settings, seed: kind(**fixed, **settings)


def _seeded(kind: Any, **fixed: Any) -> Callable[[dict[str, Any], int], Any]:
    return lambda settings, seed: kind(random_state=seed, **fixed, **settings)


def _ada_boost(settings: dict[str, Any], seed: int) -> Any:
    return AdaBoostRegressor(DecisionTreeRegressor(**settings), n_estimators=50, random_state=seed)


def _bagging(settings: dict[str, Any], seed: int) -> Any:
    tree = DecisionTreeRegressor(min_samples_leaf=LEAF)
    return BaggingRegressor(tree, n_estimators=50, random_state=seed, **settings)


_PENALTIES = tuple(float(a) for a in np.logspace(-2, 5, 15))
_SHRINKAGES = tuple(float(a) for a in np.logspace(-4, 0, 5))
REGRESSORS: dict[str, Regressor] = {
    "linear": Regressor(_plain(LinearRegression), {}, scaled=True),
    "ridge": Regressor(_plain(Ridge), {"alpha": _PENALTIES}, scaled=True),
    "lasso": Regressor(_plain(Lasso, max_iter=2000), {"alpha": _SHRINKAGES}, scaled=True),
    "elastic_net": Regressor(_plain(ElasticNet, max_iter=2000), {"alpha": _SHRINKAGES}, scaled=True),
    "sgd": Regressor(
        _seeded(SGDRegressor, loss="epsilon_insensitive", epsilon=0.0), {"alpha": (1e-4, 1e-2)}, True, True
    ),
    # Brute: with a search tree its file would hold types of its own.
    "k_neighbours": Regressor(
        _plain(KNeighborsRegressor, algorithm="brute", weights="distance"),
        {"n_neighbors": (3, 5, 10)},
        scaled=True,
    ),
    "svr": Regressor(_plain(SVR, cache_size=500), {"C": (1.0, 10.0, 100.0), "epsilon": (0.02,)}, scaled=True),
    "decision_tree": Regressor(_seeded(DecisionTreeRegressor), {"min_samples_leaf": (2, 5, 20)}, True),
    "extra_trees": Regressor(
        _seeded(ExtraTreesRegressor, n_estimators=100, min_samples_leaf=LEAF), {"max_features": (0.33, 1.0)}, True
    ),
    "random_forest": Regressor(
        _seeded(RandomForestRegressor, n_estimators=100, min_samples_leaf=LEAF), {"max_features": (0.33,)}, True
    ),
    "bagging": Regressor(_bagging, {"max_features": (0.5,)}, True),
    "ada_boost": Regressor(_ada_boost, {"max_depth": (6, 12)}, True),
    "gradient_boosting": Regressor(
        _seeded(HistGradientBoostingRegressor, loss="absolute_error", max_iter=300, early_stopping=False),
        {"learning_rate": (0.05, 0.1)},
        True,
    ),
}
NAMES = tuple(REGRESSORS)


def get_regressor(name: str) -> Regressor:
    """The entry of that name. Raises `UnknownNameError` with the nearest names."""
    if name not in REGRESSORS:
        raise unknown("regressor", name, REGRESSORS)
    return REGRESSORS[name]


def search(
    name: str,
    h_train_BH: NDArray[np.float32],
    y_train_B: Array,
    h_val_BH: NDArray[np.float32],
    y_val_B: Array,
    seed: int,
) -> tuple[Any, list[dict[str, Any]]]:
    """Fit each point of a regressor's grid on the training rows; the one with the lowest validation MAE.

    Returns:
        The fitted estimator, and what was tried, as plain data.
    """
    entry = get_regressor(name)
    best: tuple[float, Any] | None = None
    tried = []
    for settings in entry.settings():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one that has not converged has its validation error
            estimator = _fitted(entry, settings, seed, h_train_BH, y_train_B)
        error = mae(y_val_B, estimator.predict(h_val_BH))
        tried.append({**settings, "val_mae": error if error is not None and np.isfinite(error) else None})
        if error is not None and np.isfinite(error) and (best is None or error < best[0]):
            best = (error, estimator)
    if best is None:
        raise FloatingPointError(f"no setting of {name} has a validation error that is a number")
    return best[1], tried


def _fitted(entry: Regressor, settings: dict[str, Any], seed: int, h_BH: NDArray[np.float32], y_B: Array) -> Any:
    estimator = entry.make(settings, seed)
    if entry.scaled:
        estimator = TransformedTargetRegressor(make_pipeline(StandardScaler(), estimator), transformer=StandardScaler())
    return estimator.fit(h_BH, y_B)
