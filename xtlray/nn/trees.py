"""Whether the trees in a head that was read from a file are trees: scikit-learn takes them at their word.

Its compiled code follows children and features by their numbers without a look at how many there are. A file with
other numbers would make it read memory that is not its own, or run for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

_LEAF = -1


def what_is_wrong(head: Any) -> str | None:
    """The first thing that makes a fitted estimator, or one inside it, unsafe to predict with; None for nothing."""
    for part in _parts(head):
        wrong = _wrong(part)
        if wrong:
            return f"{type(part).__name__}: {wrong}"
    return None


def _wrong(part: Any) -> str | None:
    width = getattr(part, "n_features_in_", None)
    if hasattr(part, "tree_"):
        tree = part.tree_
        if tree.node_count > tree.capacity or tree.node_count < 1:  # before its arrays are touched
            return f"{tree.node_count} nodes in room for {tree.capacity}"
        if tree.n_features != width:
            return f"a tree on {tree.n_features} columns, not {width}"
        return _wrong_nodes(tree.children_left, tree.children_right, tree.feature, tree.children_left == _LEAF, width)
    if isinstance(part, ExtraTreesRegressor | RandomForestRegressor):
        return next(
            (f"a tree on {e.n_features_in_} columns" for e in part.estimators_ if e.n_features_in_ != width), None
        )
    for predictors in getattr(part, "_predictors", ()):
        for predictor in predictors:
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                return "a split by categories"
            leaf = nodes["is_leaf"].astype(bool)
            wrong = _wrong_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, width)
            if wrong:
                return wrong
    return None


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
