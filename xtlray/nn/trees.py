"""Whether a head that was read from a file is safe to predict with.

scikit-learn's compiled code takes a fitted estimator at its word: it follows the children and features of a tree, or
the support vectors of an SVR, by their numbers without a look at how many there are. A file with other numbers would
make it read memory that is not its own, or run for ever. So a head is made of the estimators that methods fit, and
their numbers are checked before anything runs. `headfile.py` has looked at the file before.
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

from xtlray.nn.limits import MOST_WIDTH

_LEAF = -1
_ENSEMBLES = (AdaBoostRegressor, BaggingRegressor, ExtraTreesRegressor, RandomForestRegressor)
_TREES = (DecisionTreeRegressor, ExtraTreeRegressor)
_LINEAR = (ElasticNet, Lasso, LinearRegression, Ridge, SGDRegressor)
_WRAPPERS = (Pipeline, StandardScaler, TransformedTargetRegressor)
_ALLOWED = (*_ENSEMBLES, *_TREES, *_LINEAR, *_WRAPPERS, HistGradientBoostingRegressor, KNeighborsRegressor, SVR)
# Parts of a boosted model that are no estimators: its loss, its bins, its trees.
_INSIDE = ("sklearn._loss.", "sklearn.ensemble._hist_gradient_boosting.")
_KERNELS = ("linear", "poly", "rbf", "sigmoid")  # of a `precomputed` one, rows are numbers of support vectors
_METRICS = ("euclidean", "manhattan", "minkowski")


def what_is_wrong(head: Any) -> str | None:
    """The first thing that makes a fitted estimator, or one inside it, unsafe to predict with; None for nothing."""
    for part in _parts(head):
        if type(part) not in _ALLOWED and not type(part).__module__.startswith(_INSIDE):
            return f"{type(part).__name__} is no part of a head"
        wrong = _wrong_attributes(part) or _wrong(part)
        if wrong:
            return f"{type(part).__name__}: {wrong}"
    if not is_regressor(head):
        return f"{type(head).__name__} is no regressor"
    if type(head.n_features_in_) is not int or not 0 < head.n_features_in_ <= MOST_WIDTH:
        return f"it reads {head.n_features_in_} columns"
    return None


def _wrong_attributes(part: Any) -> str | None:
    """None in the place of what its class has, such as a method; no processes, chatter or memory at a file's wish."""
    hidden = [name for name in vars(part) if hasattr(type(part), name)]
    if hidden:
        return f"{hidden[0]} in the place of its class' own"
    if getattr(part, "n_jobs", None) not in (None, 1):
        return f"n_jobs {part.n_jobs}"
    if getattr(part, "verbose", 0) not in (0, None):  # False is 0
        return f"verbose {part.verbose}"
    if getattr(part, "n_outputs_", 1) != 1:  # a forest makes room for so many answers a row
        return f"{part.n_outputs_} outputs"
    return None


def _wrong(part: Any) -> str | None:
    """Wrong with one part; what was not fitted, as the pattern of a forest's trees, cannot predict anyhow."""
    width = getattr(part, "n_features_in_", None)
    if isinstance(part, _TREES) and hasattr(part, "tree_"):
        return _wrong_tree(part.tree_, width)
    if isinstance(part, ExtraTreesRegressor | RandomForestRegressor):
        return _wrong_forest(part, width)
    if isinstance(part, SVR) and hasattr(part, "support_vectors_"):
        return _wrong_vectors(part, width)
    if isinstance(part, KNeighborsRegressor) and hasattr(part, "_fit_X"):
        return _wrong_neighbours(part, width)
    if isinstance(part, StandardScaler) and hasattr(part, "n_samples_seen_"):
        return _wrong_scale(part)
    if isinstance(part, HistGradientBoostingRegressor):
        return _wrong_boosting(part, width)
    return None


def _wrong_forest(part: Any, width: int | None) -> str | None:
    """A forest hands its rows to its trees unchecked."""
    for tree in part.estimators_:
        if type(tree) not in _TREES:
            return f"a {type(tree).__name__} among its trees"
        if tree.n_features_in_ != width:
            return f"a tree on {tree.n_features_in_} columns"
    return None


def _wrong_neighbours(part: Any, width: int | None) -> str | None:
    count = len(part._y)
    if part._fit_X.shape != (count, width) or part.n_samples_fit_ != count or part._fit_method != "brute":
        return f"rows of shape {part._fit_X.shape} for {count} targets, searched by {part._fit_method}"
    if not 0 < part.n_neighbors <= count:
        return f"{part.n_neighbors} neighbours of {count}"
    weights = part.effective_metric_params_.get("w")
    if part.effective_metric_ not in _METRICS or set(part.effective_metric_params_) - {"p", "w"} or weights is not None:
        return f"distances of the kind {part.effective_metric_}"
    return None


def _wrong_scale(part: Any) -> str | None:
    """What is divided by has to be a number other than zero."""
    if part.scale_ is not None and not (np.isfinite(part.scale_).all() and (part.scale_ > 0).all()):
        return "a scale that one cannot divide by"
    return None if part.mean_ is None or np.isfinite(part.mean_).all() else "a mean that is no number"


def _wrong_boosting(part: Any, width: int | None) -> str | None:
    if part._preprocessor is not None or part.is_categorical_ is not None or part._bin_mapper.is_categorical_.any():
        return "columns that are categories"
    if part.n_trees_per_iteration_ != 1 or part._baseline_prediction.size != 1:
        return f"{part.n_trees_per_iteration_} trees at a time"
    trees = (predictor.nodes for predictors in part._predictors for predictor in predictors)
    return next((wrong for wrong in (_wrong_boosted(nodes, width) for nodes in trees) if wrong), None)


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
    if part._n_support.tolist() != [count, count] or part._sparse:
        return f"{count} support vectors, and it says {part._n_support.tolist()}"
    return None if part.kernel in _KERNELS else f"a kernel {part.kernel}"


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
