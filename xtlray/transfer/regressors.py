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
_HELD_OUT = 0.15  # of the training rows, to choose a point of a grid


@dataclass(frozen=True)
class Regressor:
    """An entry of the field.

    Attributes:
        make: settings and a seed → an unfitted estimator.
        grid: cheap settings, chosen inside a fit by rows that are held out of its training rows for that.
        scaled: whether it wants standardised columns, and standardised targets.
        variants: settings that are a configuration each.
    """

    make: Callable[[dict[str, Any], int], Any]
    grid: Mapping[str, Sequence[Any]]
    scaled: bool = False
    variants: Sequence[Mapping[str, Any]] = ({},)

    def settings(self) -> Iterator[dict[str, Any]]:
        """Each point of the grid."""
        for values in product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


def _plain(kind: Any, **fixed: Any) -> Callable[[dict[str, Any], int], Any]:
    return lambda settings, seed: kind(**fixed, **settings)


def _seeded(kind: Any, **fixed: Any) -> Callable[[dict[str, Any], int], Any]:
    return lambda settings, seed: kind(**{"random_state": seed, **fixed, **settings})


def _ada_boost(settings: dict[str, Any], seed: int) -> Any:
    return AdaBoostRegressor(DecisionTreeRegressor(**settings), n_estimators=50, random_state=seed)


def _bagging(settings: dict[str, Any], seed: int) -> Any:
    tree = DecisionTreeRegressor(min_samples_leaf=LEAF)
    return BaggingRegressor(tree, n_estimators=50, random_state=seed, **settings)


_PENALTIES = tuple(float(a) for a in np.logspace(-2, 5, 15))
_SHRINKAGES = tuple(float(a) for a in np.logspace(-4, 0, 5))
REGRESSORS: dict[str, Regressor] = {
    "linear": Regressor(_plain(LinearRegression), {}, True),
    "ridge": Regressor(_plain(Ridge), {"alpha": _PENALTIES}, True),
    "lasso": Regressor(_plain(Lasso, max_iter=2000), {"alpha": _SHRINKAGES}, True),
    "elastic_net": Regressor(_plain(ElasticNet, max_iter=2000), {"alpha": _SHRINKAGES}, True),
    "sgd": Regressor(_seeded(SGDRegressor, loss="epsilon_insensitive", epsilon=0.0), {"alpha": (1e-4, 1e-2)}, True),
    # Brute: with a search tree its file would hold types of its own.
    "k_neighbours": Regressor(
        _plain(KNeighborsRegressor, algorithm="brute", weights="distance"), {"n_neighbors": (3, 5, 10)}, True
    ),
    "svr": Regressor(_plain(SVR, cache_size=500, epsilon=0.02), {}, True, ({"C": 10.0}, {"C": 1.0}, {"C": 100.0})),
    "decision_tree": Regressor(_seeded(DecisionTreeRegressor), {"min_samples_leaf": (2, 5, 20)}),
    "extra_trees": Regressor(
        _seeded(ExtraTreesRegressor, n_estimators=100, min_samples_leaf=LEAF),
        {},
        variants=({"max_features": 0.33}, {"max_features": 1.0}),
    ),
    "random_forest": Regressor(
        _seeded(RandomForestRegressor, n_estimators=100, min_samples_leaf=LEAF), {}, variants=({"max_features": 0.33},)
    ),
    "bagging": Regressor(_bagging, {}, variants=({"max_features": 0.5},)),
    "ada_boost": Regressor(_ada_boost, {}, variants=({"max_depth": 12}, {"max_depth": 6})),
    "gradient_boosting": Regressor(
        # 63 bins take two thirds of the time of 255, for the same error.
        _seeded(HistGradientBoostingRegressor, max_features=0.3, max_bins=63, max_leaf_nodes=127, early_stopping=False),
        {},
        variants=tuple({"loss": loss} for loss in ("absolute_error", "squared_error")),
    ),
}
NAMES = tuple(REGRESSORS)
TREES = ("decision_tree", "extra_trees", "random_forest", "bagging", "ada_boost", "gradient_boosting")


def get_regressor(name: str) -> Regressor:
    """The entry of that name. Raises `UnknownNameError` with the nearest names."""
    if name not in REGRESSORS:
        raise unknown("regressor", name, REGRESSORS)
    return REGRESSORS[name]


def search(
    name: str, variant: Mapping[str, Any], h_BH: NDArray[np.float32], y_B: Array, seed: int
) -> tuple[Any, list[dict[str, Any]]]:
    """Fit a regressor. The point of its grid is the one that is best on a part of these rows, held out of the others.

    Args:
        name: of the regressor.
        variant: settings beside the grid.
        h_BH: features of the training rows.
        y_B: what to learn.
        seed: of the regressor and of the part that is held out.

    Returns:
        The estimator, fitted on all rows, and what was tried, as plain data.

    Raises:
        FloatingPointError: no point of the grid has an error that is a number.
    """
    entry = get_regressor(name)
    points = list(entry.settings())
    tried: list[dict[str, Any]] = []
    if len(points) > 1 and len(y_B) > 1:
        order = np.random.default_rng(seed).permutation(len(y_B))
        held = order[: max(1, int(_HELD_OUT * len(y_B)))]
        rest = np.setdiff1d(order, held)
        for point in points:
            try:
                estimator = _fitted(entry, {**variant, **point}, seed, h_BH[rest], y_B[rest])
                error = mae(y_B[held], estimator.predict(h_BH[held]))
            except ValueError:  # more neighbours than rows, say
                error = None
            tried.append({**point, "held_out_mae": error if error is not None and np.isfinite(error) else None})
        errors = [point["held_out_mae"] for point in tried]
        if all(error is None for error in errors):
            raise FloatingPointError(f"no setting of {name} has an error that is a number")
        best = min(range(len(points)), key=lambda i: (errors[i] is None, errors[i] or 0.0))
        points = [points[best]]
    return _fitted(entry, {**variant, **points[0]}, seed, h_BH, y_B), tried


def _fitted(entry: Regressor, settings: dict[str, Any], seed: int, h_BH: NDArray[np.float32], y_B: Array) -> Any:
    estimator = entry.make(settings, seed)
    if entry.scaled:
        estimator = TransformedTargetRegressor(make_pipeline(StandardScaler(), estimator), transformer=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one that has not converged has its validation error
        return estimator.fit(h_BH, y_B)
