"""What arms said, read back and averaged: weights, out-of-fold errors, and files that are not of these rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.errors import MissingKeyError, StoreError
from xtlray.nn.tensors import pack_tensors
from xtlray.records import TrialRecord
from xtlray.store import Store
from xtlray.transfer.answers import Answers, base_error, described, errors_to_compare, mix, read_answers, single
from xtlray.transfer.plan import COMPARE, Arm

POOL = tiny.pool(30, 10)  # four folds of ten rows
Y_B = POOL.y_B
ONE, TWO, THREE = (Arm("user/gap", name, None) for name in ("base", "sc-dl-ef", "sc-ml-ef"))


@pytest.fixture
def kept(store: Store, record: Callable[..., TrialRecord]) -> Callable[..., TrialRecord]:
    """A record whose answers lie in the store."""

    def make(fold: Any, test: Any, seed: int = 0, **changes: Any) -> TrialRecord:
        key = f"runs/tiny-00000000/members/{seed}-answers.safetensors"
        both = {"fold": fold, "test": test}
        store.create(key, pack_tensors({name: torch.tensor(said, dtype=torch.float64) for name, said in both.items()}))
        return record(1.0, seed=seed, predictions=key, **changes)

    return make


def answers(fold_B: Any, test: float = 0.0, members: int = 4, **fields: Any) -> Answers:
    """What an arm said; only the number of its records counts here."""
    make = TrialRecord.model_construct
    records = tuple(make(**{"config": {"lr": seed}, "seed": seed, **fields}) for seed in range(members))
    return Answers(records, np.asarray(fold_B, float), np.full((members, 6), test))


# --- reading ---------------------------------------------------------------------------------------------------------


def test_each_row_has_the_answer_of_the_member_that_did_not_see_it(store: Store, kept: Any) -> None:
    records = [kept([10.0 * seed] * 10, [float(seed)] * 6, seed) for seed in (2, 0)]
    found = read_answers(store, records, POOL)
    assert found is not None
    assert [record.seed for record in found.records] == [0, 2]
    assert set(found.fold_B[POOL.fold_B == 0]) == {0.0}
    assert set(found.fold_B[POOL.fold_B == 2]) == {20.0}
    assert np.isnan(found.fold_B[(POOL.fold_B == 1) | (POOL.fold_B == 3)]).all()
    assert found.known_B.sum() == 20
    assert found.test_KT.tolist() == [[0.0] * 6, [2.0] * 6]


def test_more_seeds_than_folds_are_averaged(store: Store, kept: Any) -> None:
    found = read_answers(store, [kept([1.0] * 10, [0.0] * 6, 0), kept([4.0] * 10, [0.0] * 6, 4)], POOL)
    assert found is not None
    assert set(found.fold_B[POOL.fold_B == 0]) == {2.5}
    assert found.known_B.sum() == 10


def test_trials_that_failed_or_were_only_compared_do_not_count(store: Store, kept: Any, record: Any) -> None:
    compared = kept([1.0] * 10, [0.0] * 6, 0, rung=COMPARE)
    assert read_answers(store, [compared, record(None, seed=1)], POOL) is None
    assert read_answers(store, [], POOL) is None


@pytest.mark.parametrize(
    ("fold", "test"), [([1.0] * 9, [0.0] * 6), ([1.0] * 11, [0.0] * 6), ([1.0] * 10, [0.0] * 5), ([1.0] * 10, [])]
)
def test_answers_of_other_rows_are_refused(store: Store, kept: Any, fold: list[float], test: list[float]) -> None:
    with pytest.raises(StoreError, match=r"answers are of other rows.*Allowed: 10 and 6"):
        read_answers(store, [kept(fold, test)], POOL)


def test_answers_that_are_missing_or_damaged_are_refused(store: Store, kept: Any, record: Any) -> None:
    good = kept([1.0] * 10, [0.0] * 6)
    with pytest.raises(StoreError, match="names no answers"):
        read_answers(store, [record(1.0)], POOL)
    data = store.get(good.predictions)
    store.delete([good.predictions])
    with pytest.raises(MissingKeyError):
        read_answers(store, [good], POOL)
    store.create(good.predictions, data[:-9])
    with pytest.raises(StoreError, match="damaged or cut short"):
        read_answers(store, [good], POOL)


# --- averaging -------------------------------------------------------------------------------------------------------


def test_one_arm_by_hand() -> None:
    found = answers(np.where(POOL.fold_B == 3, np.nan, Y_B + 2.0), members=3)
    made = single(ONE, found, POOL)
    assert (made.val_mae, made.rows_val) == (pytest.approx(2.0), 30)
    assert made.weights == pytest.approx([1 / 3] * 3)
    assert made.groups == [0, 0, 0]
    assert made.interval is not None
    assert made.interval.half_width(np.zeros(1)) == pytest.approx([2.0])


def test_two_arms_that_err_to_opposite_sides() -> None:
    found = {ONE: answers(Y_B + 1, 10.0), TWO: answers(Y_B - 1, 20.0), THREE: answers(Y_B + 50, 900.0)}
    made = mix(found, POOL)
    assert made is not None
    assert [(arm, weight) for arm, weight, _ in made.parts] == [(ONE, 0.5), (TWO, 0.5)]
    assert (made.val_mae, made.rows_val) == (pytest.approx(0.0, abs=1e-9), 40)
    assert (made.weights, made.groups) == ([0.125] * 8, [0] * 4 + [1] * 4)
    assert len(made.records) == 8
    mean_T, spread_T, between_T, each_KT = made.test()
    assert mean_T == pytest.approx([15.0] * 6)
    assert spread_T == pytest.approx([5.0] * 6)
    assert between_T == pytest.approx([5.0] * 6)
    assert each_KT.shape == (8, 6)
    told = described(made)["members"]
    assert [(each["method"], each["weight"], each["config"]) for each in told] == [
        ("base", 0.5, {"lr": 0}),
        ("sc-dl-ef", 0.5, {"lr": 0}),
    ]


def test_the_error_is_of_weights_chosen_on_other_folds() -> None:
    """Each arm is right on half of the folds: weights look best where they were chosen, and the error is honest."""
    random = np.random.default_rng(0)
    found = {arm: answers(Y_B + random.normal(0, 3, 40)) for arm in (ONE, TWO, THREE)}
    made = mix(found, POOL)
    assert made is not None
    fitted = np.abs(sum(w * found[arm].fold_B for arm, w, _ in made.parts) - Y_B).mean()
    assert made.val_mae is not None
    assert made.val_mae > fitted


def test_a_fold_s_own_values_do_not_choose_its_weights() -> None:
    """With other values in one fold, what is said of that fold's rows is the same: its errors alone change."""
    random = np.random.default_rng(1)
    found = {arm: answers(Y_B + random.normal(0, 3, 40)) for arm in (ONE, TWO, THREE)}
    held = POOL.fold_B == 2
    far = mix(found, replace(POOL, y_B=np.where(held, 1e6, Y_B)))
    farther = mix(found, replace(POOL, y_B=np.where(held, 2e6, Y_B)))
    assert far is not None
    assert farther is not None
    assert farther.val_mae == pytest.approx((far.val_mae or 0) + 1e6 / 4, rel=1e-3)


def test_an_arm_that_lost_a_trial_is_compared_on_the_rows_that_it_knows() -> None:
    partly = np.where(POOL.fold_B == 0, np.nan, Y_B + 1)
    found = {ONE: answers(np.where(POOL.fold_B == 0, Y_B, Y_B + 2)), TWO: answers(partly, members=3)}
    assert errors_to_compare(found, POOL) == pytest.approx({ONE: 2.0, TWO: 1.0})
    made = mix(found, POOL)
    assert made is not None
    assert [arm for arm, _, _ in made.parts] == [TWO]
    assert made.rows_val == 30


def test_an_arm_that_lost_half_of_its_trials_is_left_out() -> None:
    partly = np.where(POOL.fold_B < 2, np.nan, Y_B)
    found = {TWO: answers(Y_B + 1), THREE: answers(partly, members=2)}
    assert list(errors_to_compare(found, POOL)) == [TWO]


def test_the_mean_which_cannot_fail_does_not_put_others_behind() -> None:
    """`base` has all of its trials, the net lost half of its: of those that can fail it has most."""
    partly = np.where(POOL.fold_B < 2, np.nan, Y_B)
    found = {ONE: answers(Y_B + 9), TWO: answers(partly, members=2)}
    assert ONE.method == "base"
    errors = errors_to_compare(found, POOL)
    assert errors[TWO] == pytest.approx(0.0)
    assert errors[ONE] == pytest.approx(9.0)


def test_the_order_of_arms_decides_nothing() -> None:
    random = np.random.default_rng(2)
    found = {arm: answers(Y_B + random.normal(0, 1, 40)) for arm in (ONE, TWO, THREE)}
    forth, back = mix(found, POOL), mix(dict(reversed(found.items())), POOL)
    assert forth is not None
    assert back is not None
    assert [(arm, weight) for arm, weight, _ in forth.parts] == [(arm, weight) for arm, weight, _ in back.parts]
    assert (forth.val_mae, forth.interval) == (back.val_mae, back.interval)


def test_nothing_to_average() -> None:
    assert mix({}, POOL) is None
    nowhere = {ONE: answers(np.where(POOL.fold_B == 0, Y_B, np.nan)), TWO: answers(np.where(POOL.fold_B, Y_B, np.nan))}
    assert mix(nowhere, POOL) is None


def test_an_ensemble_that_agrees_less_has_wider_intervals() -> None:
    random = np.random.default_rng(3)
    error_B = random.normal(0, 1, 40)
    found = {ONE: answers(Y_B + error_B, 1.0), TWO: answers(Y_B - 0.5 * error_B, 1.0)}
    made = mix(found, POOL)
    assert made is not None
    assert made.interval is not None
    near, far = made.interval.half_width(np.array([0.0, 5.0]))
    assert near < far


def test_the_error_of_the_mean() -> None:
    assert base_error(POOL, np.array([Y_B.mean() + 1, Y_B.mean() - 3])) == pytest.approx(2.0)
    assert base_error(POOL, np.zeros(0)) is None
