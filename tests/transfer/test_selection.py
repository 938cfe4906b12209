"""Selection: validation figures alone, whatever the order they came in."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from xtlray.records import TrialRecord
from xtlray.transfer.selection import choose_config, choose_lowest, cross_weighted, greedy_weights


def test_a_record_has_no_place_for_a_test_figure() -> None:
    assert [name for name in TrialRecord.model_fields if "test" in name] == []


def test_the_lowest_mean_in_any_order(record: Callable[..., TrialRecord]) -> None:
    records = [record(1.0, 0.1), record(4.0, 0.1, 1), record(2.0, 0.2), record(2.0, 0.2, 1), record(None, 0.3)]
    for order in itertools.permutations(records):
        assert choose_config(order) == {"lr": 0.2}


def test_ties_go_by_the_text_of_the_configuration(record: Callable[..., TrialRecord]) -> None:
    records = [record(1.0, 0.3), record(1.0, 0.1), record(1.0, 0.2)]
    assert {str(choose_config(order)) for order in itertools.permutations(records)} == {"{'lr': 0.1}"}


def test_the_mean_does_not_hang_on_the_order_of_adding(record: Callable[..., TrialRecord]) -> None:
    """0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1 in the last bit, which could decide a tie."""
    one = [record(v, 0.1, s) for s, v in enumerate((0.1, 0.2, 0.3))]
    two = [record(v, 0.2, s) for s, v in enumerate((0.3, 0.2, 0.1))]
    assert choose_config(one + two) == choose_config(two + one) == {"lr": 0.1}


def test_failed_trials_do_not_count(record: Callable[..., TrialRecord]) -> None:
    assert choose_config([record(None), record(None, 0.2)]) is None
    assert choose_config([]) is None
    assert choose_config([record(None, 0.1), record(9.0, 0.1, 1), record(5.0, 0.2)]) == {"lr": 0.2}


def test_a_configuration_that_lacks_a_fold_is_behind_those_that_do_not(record: Callable[..., TrialRecord]) -> None:
    """Its mean is of other rows, perhaps of easier ones."""
    records = [record(1.0, 0.1), record(None, 0.1, 1), record(3.0, 0.2), record(3.0, 0.2, 1)]
    for order in itertools.permutations(records):
        assert choose_config(order) == {"lr": 0.2}


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([(2.0, "a", 1), (1.0, "b", 2)], 2),
        ([(1.0, "b", 2), (1.0, "a", 1)], 1),
        ([(None, "a", 1), (1.0, "b", 2)], 2),
        ([(None, "a", 1)], None),
        ([], None),
    ],
)
def test_the_best_of_several(candidates: list[tuple[float | None, str, int]], expected: int | None) -> None:
    assert choose_lowest(candidates) == expected


# --- weights of an ensemble ------------------------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    """The two that err to opposite sides cancel; the third never helps."""
    y_B = np.array([0.0, 0.0, 0.0, 0.0])
    answers_AB = np.array([[1.0, 1, 1, 1], [-1.0, -1, -1, -1], [5.0, 5, 5, 5]])
    assert greedy_weights(answers_AB, y_B).tolist() == [0.5, 0.5, 0.0]


def test_unequal_errors_get_unequal_weights() -> None:
    """+1 and -2 cancel as 2 : 1."""
    weight_A = greedy_weights(np.array([[1.0, 1.0], [-2.0, -2.0]]), np.zeros(2))
    assert weight_A == pytest.approx([2 / 3, 1 / 3])


def test_the_best_alone_where_nothing_helps_it() -> None:
    answers_AB = np.array([[3.0, 3.0], [1.0, 1.0], [2.0, 2.0]])
    assert greedy_weights(answers_AB, np.zeros(2)).tolist() == [0.0, 1.0, 0.0]
    assert greedy_weights(np.zeros((2, 3)), np.zeros(3)).tolist() == [1.0, 0.0]  # ties go to the first
    assert greedy_weights(np.ones((1, 3)), np.zeros(3)).tolist() == [1.0]


def test_an_average_is_never_worse_than_its_best_part() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        y_B = random.normal(0, 1, 50)
        answers_AB = y_B + random.normal(0, 1, (6, 50)) * random.uniform(0.2, 2, (6, 1))
        weight_A = greedy_weights(answers_AB, y_B)
        assert weight_A.sum() == pytest.approx(1)
        assert np.abs(weight_A @ answers_AB - y_B).mean() <= np.abs(answers_AB - y_B).mean(axis=1).min() + 1e-12


def test_weights_of_a_fold_are_chosen_without_it() -> None:
    """Each arm is right on one fold and wrong on the other: judged by the other fold, it is the wrong one's turn."""
    y_B, fold_B = np.zeros(4), np.array([0, 0, 1, 1])
    answers_AB = np.array([[0.0, 0, 8, 8], [6.0, 6, 0, 0]])
    assert cross_weighted(answers_AB, y_B, fold_B, np.arange(4)).tolist() == [6.0, 6.0, 8.0, 8.0]
    # One fold is cut by composition: here in the same two halves; of one composition, nothing can be cut.
    assert cross_weighted(answers_AB, y_B, np.zeros(4, int), fold_B).tolist() == [6.0, 6.0, 8.0, 8.0]
    one = greedy_weights(answers_AB, y_B) @ answers_AB
    assert cross_weighted(answers_AB, y_B, np.zeros(4, int), np.zeros(4, int)).tolist() == one.tolist()


def test_the_answers_of_a_fold_do_not_decide_their_own_weights() -> None:
    """Other values of a fold's rows change the weights of other folds alone, not what is said of these rows."""
    random = np.random.default_rng(1)
    y_B, fold_B = random.normal(0, 1, 30), np.arange(30) % 3
    answers_AB = y_B + random.normal(0, 1, (4, 30))
    before = cross_weighted(answers_AB, y_B, fold_B, np.arange(30))
    after = cross_weighted(answers_AB, np.where(fold_B == 1, 100 * y_B[::-1], y_B), fold_B, np.arange(30))
    assert np.array_equal(before[fold_B == 1], after[fold_B == 1])
    assert not np.array_equal(before[fold_B != 1], after[fold_B != 1])
