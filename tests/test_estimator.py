"""The transfer model as a regressor of scikit-learn: fitted, scored, cloned; its source a tiny net in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

import xtlray
from tests import tiny
from xtlray.errors import RequestError, UnknownNameError
from xtlray.store import Store

FORMULAS = np.array(tiny.FORMULAS)
VALUES = np.array([2.0 + 3.0 * text.count("O") - 1.0 * text.count("Na") for text in tiny.FORMULAS])
SCRATCH = {"method": "sc-dl-ef", "seeds": 1}  # the quickest, with a tiny net


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "store"))
    tiny.model(store, "source", data=tiny.dataset(store))
    return store


def regressor(store: Store | None = None, **changes: Any) -> xtlray.TransferRegressor:
    return xtlray.TransferRegressor(**{"store": store and store.url, "net": tiny.NET, **changes})


def test_it_learns_and_its_members_are_averaged(store: Store) -> None:
    model = regressor(store, source="source", seeds=2).fit(FORMULAS, VALUES)
    answers = model.predict(FORMULAS)
    assert len(model.members_) == 2
    assert np.abs(answers - VALUES).mean() < 0.95 * np.abs(VALUES - VALUES.mean()).mean()  # of few weights
    x_BF = model.encoder_.encode(tiny.parsed(FORMULAS))
    assert answers == pytest.approx(np.mean([member.predict(x_BF) for member in model.members_], axis=0))
    assert {"lr", "epochs"} <= set(model.config_)
    assert model.val_mae_ > 0


def test_it_is_usable_in_cross_validation() -> None:
    model = regressor(method="sc-ml-ef")
    scores = cross_val_score(model, FORMULAS, VALUES, cv=2, scoring="neg_mean_absolute_error")
    assert (scores > -np.abs(VALUES - VALUES.mean()).mean()).all()
    assert clone(regressor(**SCRATCH, effort="full")).get_params()["effort"] == "full"


def test_the_same_rows_give_the_same_model() -> None:
    one, two = (regressor(**SCRATCH).fit(FORMULAS, VALUES).predict(FORMULAS[:9]) for _ in range(2))
    assert np.array_equal(one, two)


def test_formulas_may_be_a_column_and_none_are_none() -> None:
    model = regressor(**SCRATCH).fit(FORMULAS[:, None], VALUES)
    assert np.array_equal(model.predict(list(FORMULAS[:3])), model.predict(FORMULAS[:3, None]))
    assert model.predict([]).shape == (0,)


@pytest.mark.parametrize(
    ("formulas", "values", "changes", "message"),
    [
        (["LiO", "Xx2"], [1.0, 2.0], {}, r"1 of 2 formulas cannot be used.*'Xx2' \(place 1\)"),
        (["LiO", "HeO"], [1.0, 2.0], {}, "holds He"),
        (["LiO", "NaO"], [1.0], {}, "Values do not fit"),
        (["LiO", "NaO"], [1.0, np.nan], {}, "1 not finite"),
        (["LiO", "Li2O2"], [1.0, 2.0], {}, "composition"),
        (["LiO", "NaO"], [1.0, 2.0], {"effort": "huge"}, "quick, standard or full"),
        (["LiO", "NaO"], [1.0, 2.0], {"seeds": 0}, "one seed or more"),
    ],
)
def test_what_cannot_be_fitted_is_refused(formulas: Any, values: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        regressor(**{**SCRATCH, **changes}).fit(formulas, values)


def test_names_that_do_not_exist_are_refused(store: Store) -> None:
    with pytest.raises(UnknownNameError, match="tl-finetune"):
        regressor(method="tl-finetun").fit(FORMULAS, VALUES)
    with pytest.raises(RequestError, match="nothing-here"):
        regressor(store, source="nothing-here").fit(FORMULAS, VALUES)


def test_a_text_is_no_list_of_letters() -> None:
    with pytest.raises(RequestError, match="wanted as a list"):
        regressor(**SCRATCH).fit(FORMULAS, VALUES).predict("CO")
    frame = pd.DataFrame({"formula": FORMULAS})
    assert len(regressor(**SCRATCH).fit(frame, VALUES).predict(frame[["formula"]])) == len(FORMULAS)


def test_before_fit_it_cannot_predict() -> None:
    with pytest.raises(NotFittedError):
        regressor().predict(["LiO"])
