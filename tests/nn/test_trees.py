"""Heads whose trees are none are refused before anything follows them; those that scikit-learn makes are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from xtlray.errors import StoreError
from xtlray.nn.heads import pack_head, unpack_head
from xtlray.nn.trees import what_is_wrong

X = np.random.default_rng(0).random((80, 4))
Y = X @ [1.0, 2.0, 3.0, 4.0]
FORESTS = {
    "tree": DecisionTreeRegressor(max_leaf_nodes=9),  # built best first, the others depth first
    "extra": ExtraTreesRegressor(3),
    "forest": RandomForestRegressor(3),
    "bagging": BaggingRegressor(n_estimators=3, max_features=0.5),
    "ada": AdaBoostRegressor(n_estimators=3),
    "pipeline": make_pipeline(StandardScaler(), ExtraTreesRegressor(3)),
    "boosting": HistGradientBoostingRegressor(max_iter=3),
    "ridge": Ridge(),
    "svr": TransformedTargetRegressor(make_pipeline(StandardScaler(), SVR()), transformer=StandardScaler()),
}


@pytest.mark.parametrize("name", FORESTS)
def test_what_scikit_learn_makes_is_sound(name: str) -> None:
    head = FORESTS[name].fit(X, Y)
    assert what_is_wrong(head) is None
    assert np.array_equal(unpack_head(pack_head(head), "here").predict(X), head.predict(X))


@pytest.mark.parametrize("head", [StandardScaler().fit(X), GradientBoostingRegressor(n_estimators=2).fit(X, Y)])
def test_what_no_method_fits_is_no_head(head: Any) -> None:
    """Gradient boosting of the other kind checks the columns of its first tree only."""
    assert (
        what_is_wrong(head)
        == f"{type(head).__name__} is no {'regressor' if 'Scaler' in str(head) else 'part of a head'}"
    )
    with pytest.raises(StoreError, match=r"head cannot be used|types that it may not hold"):
        unpack_head(pack_head(head), "here")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("support_vectors_", np.zeros((100_000, 1))),
        ("support_", np.zeros(3, np.int32)),
        ("_dual_coef_", np.zeros((1, 1))),
        ("_intercept_", np.zeros(0)),
        ("_n_support", np.array([1_000_000], np.int32)),
        ("dual_coef_", None),
    ],
)
def test_support_vectors_of_other_shapes_are_refused(name: str, value: Any) -> None:
    head = SVR().fit(X, Y)
    setattr(head, name, value)
    with pytest.raises(StoreError, match="head cannot be used"):
        unpack_head(pack_head(head), "here")


def altered(tree: Any, **changes: Any) -> None:
    """Change the arrays of a compiled tree in place, as a file could say them."""
    state = tree.__getstate__()
    for name, (node, value) in changes.items():
        state["nodes"][name][node] = value
    tree.__setstate__(state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left_child": (0, 10_000)}, "a child that is not there"),
        ({"left_child": (0, 0)}, "a child that is not there"),  # in a circle
        ({"right_child": (0, -7)}, "a child that is not there"),
        ({"feature": (0, 4)}, "a split by a column that is not there"),
        ({"feature": (0, -1)}, "a split by a column that is not there"),
    ],
)
def test_a_tree_with_other_numbers_is_refused(changes: dict[str, Any], message: str) -> None:
    head = make_pipeline(StandardScaler(), ExtraTreesRegressor(3, random_state=0)).fit(X, Y)
    altered(head[-1].estimators_[1].tree_, **changes)
    with pytest.raises(StoreError, match=f"head cannot be used.*here.*{message}"):
        unpack_head(pack_head(head), "here")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left", 10_000, "a child that is not there"),
        ("right", 0, "a child that is not there"),
        ("feature_idx", 4, "a split by a column that is not there"),
        ("is_categorical", 1, "a split by categories"),
    ],
)
def test_a_boosted_tree_with_other_numbers_is_refused(field: str, value: int, message: str) -> None:
    head = HistGradientBoostingRegressor(max_iter=3).fit(X, Y)
    head._predictors[1][0].nodes[field][0] = value
    with pytest.raises(StoreError, match=message):
        unpack_head(pack_head(head), "here")


def test_a_tree_on_other_columns_than_its_forest_is_refused() -> None:
    head = ExtraTreesRegressor(3).fit(X, Y)
    head.estimators_[0] = DecisionTreeRegressor().fit(np.hstack([X, X]), Y)
    assert what_is_wrong(head) == "ExtraTreesRegressor: a tree on 8 columns"
    head.estimators_[0].n_features_in_ = 4
    assert what_is_wrong(head) == "DecisionTreeRegressor: a tree on 8 columns, not 4"
