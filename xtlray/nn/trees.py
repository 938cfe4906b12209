"""Whether a head that was read from a file is safe to predict with.

scikit-learn's compiled code takes a fitted estimator at its word: it follows the children and features of a tree, or
the support vectors of an SVR, by their numbers without a look at how many there are. A file with other numbers would
make it read memory that is not its own, or run for ever. So a head is made of the estimators that methods fit, and
their numbers are checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge, SGDRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor

_LEAF = -1
_ENSEMBLES = (AdaBoostRegressor, BaggingRegressor, ExtraTreesRegressor, RandomForestRegressor)
_TREES = (DecisionTreeRegressor, ExtraTreeRegressor)
_LINEAR = (ElasticNet, Lasso, LinearRegression, Ridge, SGDRegressor)
_WRAPPERS = (Pipeline, StandardScaler, TransformedTargetRegressor)
_ALLOWED = (*_ENSEMBLES, *_TREES, *_LINEAR, *_WRAPPERS, HistGradientBoostingRegressor, KNeighborsRegressor, SVR)
# Parts of a boosted model that are no estimators: its loss, its bins, its trees.
_INSIDE = ("sklearn._loss.", "sklearn.ensemble._hist_gradient_boosting.")


def what_is_wrong(head: Any) -> str | None:
    """The first thing that makes a fitted estimator, or one inside it, unsafe to predict with; None for nothing."""
    if not is_regressor(head):
        return f"{type(head).__name__} is no regressor"
    for part in _parts(head):
        if type(part) not in _ALLOWED and not type(part).__module__.startswith(_INSIDE):
            return f"{type(part).__name__} is no part of a head"
        wrong = _wrong(part)
        if wrong:
            return f"{type(part).__name__}: {wrong}"
    return None


def _wrong(part: Any) -> str | None:
    """Wrong with one part; what was not fitted, as the pattern of a forest's trees, cannot predict anyhow."""
    width = getattr(part, "n_features_in_", None)
    if isinstance(part, _TREES) and hasattr(part, "tree_"):
        return _wrong_tree(part.tree_, width)
    if isinstance(part, ExtraTreesRegressor | RandomForestRegressor):
        others = (tree.n_features_in_ for tree in part.estimators_ if tree.n_features_in_ != width)
        return next((f"a tree on {other} columns" for other in others), None)
    if isinstance(part, SVR) and hasattr(part, "support_vectors_"):
        return _wrong_vectors(part, width)
    if isinstance(part, HistGradientBoostingRegressor):
        if part._preprocessor is not None:
            return "columns that are categories"
        trees = (predictor.nodes for predictors in part._predictors for predictor in predictors)
        return next((wrong for wrong in (_wrong_boosted(nodes, width) for nodes in trees) if wrong), None)
    return None


def _wrong_tree(tree: Any, width: int | None) -> str | None:
    if tree.node_count > tree.capacity or tree.node_count < 1:  # before its arrays are touched
        return f"{tree.node_count} nodes in room for {tree.capacity}"
    if tree.n_features != width:
        return f"a tree on {tree.n_features} columns, not {width}"
    leaf = tree.children_left == _LEAF
    return _wrong_nodes(tree.children_left, tree.children_right, tree.feature, leaf, width)


def _wrong_boosted(nodes: Any, width: int | None) -> str | None:
    if nodes["is_categorical"].any():
        return "a split by categories"
    leaf = nodes["is_leaf"].astype(bool)
    return _wrong_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, width)


def _wrong_nodes(left: Any, right: Any, feature: Any, leaf: Any, width: int | None) -> str | None:
    """Children come after their parents, as both libraries' builders make them: so no path leads in a circle."""
    if not len(left) or width is None:
        return "no nodes, or no number of columns"
    inner = np.flatnonzero(~leaf)
    for child in (left, right):
        if not ((child[inner] > inner) & (child[inner] < len(left))).all():
            return "a child that is not there"
    if not ((feature[inner] >= 0) & (feature[inner] < width)).all():
        return "a split by a column that is not there"
    return None


def _wrong_vectors(part: SVR, width: int | None) -> str | None:
    count = len(part.support_)
    expected = {
        "support_vectors_": (count, width),
        "support_": (count,),
        "dual_coef_": (1, count),
        "_dual_coef_": (1, count),
        "intercept_": (1,),
        "_intercept_": (1,),
    }
    for name, shape in expected.items():
        if getattr(part, name).shape != shape:
            return f"{name} of another shape than {shape}"
    if int(np.sum(part._n_support)) not in (count, 2 * count) or part._sparse:
        return f"{part._n_support} support vectors, not {count}"
    return None


def _parts(thing: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """An estimator and all estimators inside it, in its attributes, lists and object arrays."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        inside = list(thing.ravel()) if thing.dtype == object else []
    elif isinstance(thing, dict):
        inside = list(thing.values())
    elif isinstance(thing, list | tuple):
        inside = list(thing)
    elif hasattr(thing, "__dict__") and type(thing).__module__.startswith("sklearn."):
        yield thing
        inside = list(vars(thing).values())
    else:
        inside = []
    for each in inside:
        if not isinstance(each, str | bytes | int | float | bool | None):
            yield from _parts(each, seen)
