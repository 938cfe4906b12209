"""Intervals: they hold the share of new rows that they promise, and hang on nothing but errors and spreads."""

from __future__ import annotations

import numpy as np
import pytest

from xtlray.nn.interval import Interval, spread, spread_between


@pytest.mark.parametrize("tails", ["normal", "heavy", "where members differ"])
def test_nine_in_ten_of_rows_like_those_it_was_made_on(tails: str) -> None:
    """Averaged over many draws, as the promise is of the average; 200 rows to make it, 200 new ones."""
    random, shares = np.random.default_rng(0), []
    for _ in range(100):
        spread_B = random.gamma(2.0, 1.0, 400)
        noise_B = random.standard_t(3, 400) if tails == "heavy" else random.normal(0, 1, 400)
        error_B = noise_B * (spread_B if tails == "where members differ" else 1.0)
        made = Interval.fit(error_B[:200], spread_B[:200])
        assert made is not None
        shares.append((np.abs(error_B[200:]) <= made.half_width(spread_B[200:])).mean())
    assert 0.87 < np.mean(shares) < 0.93


def test_where_members_differ_intervals_are_wider() -> None:
    made = Interval(2.0, 0.5)
    assert made.half_width(np.array([0.0, 1.0])).tolist() == [1.0, 3.0]


def test_by_hand() -> None:
    made = Interval.fit(np.array([1.0, -2.0, 3.0, -4.0]), np.zeros(4), level=0.5)
    assert made == Interval(3.0 / 2.5, 2.5, 0.5)  # the third of four, in units of the median
    assert made.half_width(np.zeros(1)).tolist() == pytest.approx([3.0])


@pytest.mark.parametrize(("rows", "enough"), [(0, False), (1, False), (8, False), (9, True), (10, True)])
def test_too_few_rows_give_none(rows: int, enough: bool) -> None:
    """Of eight rows, not even the largest error is beyond nine in ten."""
    assert (Interval.fit(np.arange(rows) + 1.0, np.zeros(rows)) is not None) is enough


@pytest.mark.parametrize("error_B", [np.zeros(20), np.array([0.0] * 19 + [5.0])])
def test_errors_that_are_nothing_give_numbers(error_B: np.ndarray) -> None:
    made = Interval.fit(error_B, np.zeros(20))
    assert made is not None
    assert np.isfinite(made.half_width(np.zeros(3))).all()


def test_json_and_back() -> None:
    made = Interval(1.5, 0.25)
    assert made.as_json() == {"level": 0.9, "quantile": 1.5, "floor": 0.25}
    assert Interval.from_json({"level": 0.9, "quantile": 1.5, "floor": 0.25}) == made


def test_groups_are_compared_by_their_means() -> None:
    each_KB = np.array([[0.0], [2.0], [5.0]])
    weight_K = np.array([0.25, 0.25, 0.5])
    assert spread_between(each_KB, weight_K, [0, 0, 1]).tolist() == [2.0]  # 1 and 5, in equal parts
    assert spread_between(each_KB, weight_K, [0, 0, 0]).tolist() == [0.0]
    assert spread(each_KB, weight_K) == pytest.approx([np.sqrt(0.25 * 9 + 0.25 * 1 + 0.5 * 4)])
