"""Warps: there and back, never out of order, never beyond the values that they were fitted on."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest

from xtlray.nn.scaler import TargetScaler
from xtlray.nn.warp import Warp, WarpKind, long_tailed, mostly_one_value

RANDOM = np.random.default_rng(0)
KINDS = get_args(WarpKind)
VALUES = {
    "normal": RANDOM.normal(3, 2, 500),
    "long tail": np.exp(RANDOM.normal(0, 3, 500)),
    "both tails": RANDOM.normal(0, 1, 500) ** 5,
    "outlier": np.array([*RANDOM.random(200), 1e9]),
    "negative outlier": np.array([-1e9, *RANDOM.random(200)]),
    "many equal": np.array([0.0] * 320 + [1.0] * 80 + [2.5, 7.0]),
    "two": np.array([1.0, 4.0]),
    "constant": np.full(20, 7.0),
    "zeros": np.zeros(20),
    "one": np.array([-3.0]),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_values = pytest.mark.parametrize("name", VALUES)


@each_kind
@each_values
def test_there_and_back(kind: WarpKind, name: str) -> None:
    y_B = VALUES[name]
    warp = Warp.fit(kind, y_B)
    known = y_B if kind == "log" else np.intersect1d(y_B, warp.values)  # between its knots a rank is straight
    assert warp.back(warp.forward(known)) == pytest.approx(known, rel=1e-9, abs=1e-12)


@each_kind
@each_values
def test_it_keeps_the_order_and_the_range(kind: WarpKind, name: str) -> None:
    y_B = VALUES[name]
    warp = Warp.fit(kind, y_B)
    warped_B = warp.forward(np.sort(y_B))
    assert np.isfinite(warped_B).all()
    assert (np.diff(warped_B) >= 0).all()
    far = warp.back(np.linspace(-1e3, 1e3, 4001))
    assert (np.diff(far) >= 0).all()
    assert y_B.min() <= far[0] <= far[-1] <= y_B.max()
    assert (far[0], far[-1]) == pytest.approx((y_B.min(), y_B.max()))


def test_different_values_stay_different() -> None:
    for name in ("normal", "long tail", "many equal"):
        y_B = np.unique(VALUES[name])
        assert (np.diff(Warp.fit("log", y_B).forward(y_B)) > 0).all()


def test_an_outlier_no_longer_decides() -> None:
    y_B = VALUES["outlier"]
    plain, warped = TargetScaler.fit(y_B[:, None]), TargetScaler.fit_warped("log", y_B)
    assert np.ptp(plain.transform(y_B[:-1, None])) < 1e-6
    assert np.ptp(warped.transform(y_B[:-1, None])) > 0.1
    assert np.ptp(Warp.fit("rank", y_B).forward(y_B[:-1])) > 0.9


def test_a_rank_is_the_share_of_values_below() -> None:
    warp = Warp.fit("rank", np.array([10.0, 20.0, 40.0, 20.0, 30.0]))
    assert warp.values == (10.0, 20.0, 30.0, 40.0)
    assert warp.levels == pytest.approx((0, 0.375, 0.75, 1))  # the two 20s share the middle of places 1 and 2
    assert warp.forward(np.array([15.0, 50.0])) == pytest.approx([0.1875, 1.0])


def test_a_logarithm_by_hand() -> None:
    warp = Warp.fit("log", np.array([-1.0, 0.0, 2.0, 3.0]))
    assert warp.values == (2.0, -1.0, 3.0)
    assert warp.forward(np.array([-1.0, 0.0, 2.0])) == pytest.approx([-np.log(1.5), 0, np.log(2)])


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no warp 'cube'"):
        Warp.fit("cube", np.zeros(3))  # type: ignore[arg-type]


@each_kind
@each_values
def test_json_and_back(kind: WarpKind, name: str) -> None:
    scaler = TargetScaler.fit_warped(kind, VALUES[name])
    assert scaler.warp is not None
    assert TargetScaler.from_json(json.loads(json.dumps(scaler.as_json()))) == scaler
    assert Warp.from_json({"mean": [0.0], "scale": [1.0]}) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"log": [0.0, 1.0, 2.0]},
        {"log": [-1.0, 1.0, 2.0]},
        {"log": [1.0, 3.0, 2.0]},
        {"log": [float("nan"), 1.0, 2.0]},
        {"log": [1.0, 2.0]},
        {"rank": [], "levels": []},
        {"rank": [1.0, 2.0], "levels": [0.0]},
        {"rank": [2.0, 1.0], "levels": [0.0, 1.0]},
        {"rank": [1.0, 1.0], "levels": [0.0, 1.0]},
        {"rank": [1.0, 2.0], "levels": [1.0, 0.0]},
        {"rank": [1.0, float("nan")], "levels": [0.0, 1.0]},
        {"rank": [1.0, 2.0]},
    ],
)
def test_what_is_no_warp_of_ours_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        Warp.from_json(bad)


def test_a_warp_is_of_one_property() -> None:
    with pytest.raises(ValueError, match="a warp of 2 properties"):
        TargetScaler.from_json({"mean": [0.0, 1.0], "scale": [1.0, 1.0], "log": [1.0, 0.0, 2.0]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("normal", False),
        ("long tail", True),
        ("both tails", True),
        ("outlier", True),
        ("negative outlier", True),
        ("many equal", True),
        ("two", False),
        ("constant", False),
        ("one", False),
    ],
)
def test_which_targets_have_a_long_tail(name: str, expected: bool) -> None:
    assert long_tailed(VALUES[name]) is expected


@pytest.mark.parametrize(("zeros", "expected"), [(0, False), (60, False), (67, True), (100, True)])
def test_values_that_are_mostly_one(zeros: int, expected: bool) -> None:
    values = np.r_[np.zeros(zeros), np.linspace(1, 2, 100 - zeros)]
    assert mostly_one_value(np.random.default_rng(0).permutation(values)) is expected
