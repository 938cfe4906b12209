"""Cells of a target column: what is a number, and why the others are none."""

import math
from decimal import Decimal

import numpy as np
import pytest

from xtlray.data.numbers import numbers


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.5", 1.5),
        (" -2e-3 ", -0.002),
        ("7", 7.0),
        (3, 3.0),
        (2.5, 2.5),
        (np.float32(0.5), 0.5),
        (Decimal("1.25"), 1.25),
    ],
)
def test_numbers(cell, value):
    value_B, reasons = numbers([cell])
    assert value_B.tolist() == [value]
    assert reasons == {}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "target missing"),
        ("", "target missing"),
        ("  ", "target missing"),
        ("abc", "target not a number"),
        ("nan", "target not a number"),
        ("NA", "target not a number"),
        (float("nan"), "target not a number"),
        ("1,5", "target not a number"),
        ("1_000", "target not a number"),
        ("inf", "target infinite"),
        ("-Infinity", "target infinite"),
        ("1e400", "target infinite"),
        (float("inf"), "target infinite"),
        (10**400, "target infinite"),
    ],
)
def test_what_is_none(cell, reason):
    value_B, reasons = numbers(["1", cell])
    assert reasons == {1: reason}
    assert np.isnan(value_B[1])


def test_zero_has_one_sign():
    value_B, _ = numbers(["-0.0", "0"])
    assert [math.copysign(1, value) for value in value_B] == [1, 1]
