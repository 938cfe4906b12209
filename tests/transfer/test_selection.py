"""Selection: validation figures alone, whatever the order they came in."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from xtlray.records import TrialRecord
from xtlray.transfer.scoring import chosen_records
from xtlray.transfer.selection import choose_config, choose_lowest


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


def test_the_first_seed_chooses_and_the_other_seeds_do_not_overturn_it(record: Callable[..., TrialRecord]) -> None:
    """Configuration 0.1 won with the first seed and got more; 0.2, with one lucky seed, is not compared with a mean."""
    records = [record(1.0, 0.1), record(1.1, 0.2), record(3.0, 0.1, 2), record(2.0, 0.1, 1)]
    for order in itertools.permutations(records):
        assert [(r.config["lr"], r.seed) for r in chosen_records(order)] == [(0.1, 0), (0.1, 1), (0.1, 2)]


def test_seeds_that_failed_are_left_out(record: Callable[..., TrialRecord]) -> None:
    records = [record(1.0, 0.1), record(None, 0.1, 1), record(2.0, 0.1, 2)]
    assert [r.seed for r in chosen_records(records)] == [0, 2]
    assert chosen_records([record(None)]) == []


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
