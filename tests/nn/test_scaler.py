"""The target scaler: a table of values, constants and missing labels."""

from __future__ import annotations

import numpy as np
import pytest

from xtlray.nn.scaler import TargetScaler


def test_each_column_on_its_own_and_missing_labels_do_not_count() -> None:
    y_BP = np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0], [7.0, np.nan]])
    scaler = TargetScaler.fit(y_BP)
    assert scaler.mean == (4.0, 20.0)
    assert scaler.scale == pytest.approx((5**0.5, 10.0))
    scaled = scaler.transform(y_BP)
    assert scaled[:, 0] == pytest.approx(np.array([-3, -1, 1, 3]) / 5**0.5)
    assert np.isnan(scaled[1, 1])
    assert scaler.inverse(scaled) == pytest.approx(y_BP, nan_ok=True)


@pytest.mark.parametrize("value", [0.0, 7.0, -1e9, 1e-9, 0.1])
def test_a_constant_target_has_scale_one(value: float) -> None:
    scaler = TargetScaler.fit(np.full((9, 1), value))
    assert scaler.scale == (1.0,)
    assert scaler.inverse(scaler.transform(np.full((2, 1), value))) == pytest.approx(np.full((2, 1), value))


def test_a_small_spread_around_a_small_mean_is_a_scale() -> None:
    assert TargetScaler.fit(np.array([[1e-6], [3e-6]])).scale == pytest.approx((1e-6,))


def test_json_and_back() -> None:
    scaler = TargetScaler((1.5, 2.5), (0.1, 3.0))
    assert scaler.as_json() == {"mean": [1.5, 2.5], "scale": [0.1, 3.0]}
    assert TargetScaler.from_json({"mean": [1.5, 2.5], "scale": [0.1, 3.0]}) == scaler


def test_a_property_in_a_small_unit_is_no_constant() -> None:
    assert TargetScaler.fit(np.array([[1e-20], [3e-20]])).scale == pytest.approx((1e-20,))
