"""Prediction intervals: conformal, from errors on held-out rows, scaled by how far a model's groups are apart.

Papadopoulos, Proedrou, Vovk and Gammerman (2002), "Inductive confidence machines for regression"; scaled as in
Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), "Distribution-free predictive inference for regression",
section 5.2. There the held-out rows are those of one split, and the share of values inside is guaranteed; here they
are those of several folds, each answered by the members that did not see it, while a new row is answered by all. So
the share is what was measured on test rows, and no guarantee.

Shape suffixes: B rows, K members, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.9


@dataclass(frozen=True)
class Interval:
    """Half a width is quantile × (spread + floor).

    Attributes:
        quantile: of |error| / (spread + floor) on rows that no member was fitted on.
        floor: in the property's unit, as spreads alone may be close to zero: the median error there, or a tenth of
            the mean error where that is more, as among targets that are mostly one value.
        level: the share of rows that intervals hold.
    """

    quantile: float
    floor: float
    level: float = LEVEL

    @classmethod
    def fit(cls, error_B: Array, spread_B: Array, level: float = LEVEL) -> Interval | None:
        """From errors and spreads of held-out rows; None where they are too few for that level, or beyond numbers."""
        n = len(error_B)
        rank = math.ceil((n + 1) * level)
        if rank > n:
            return None
        size_B = np.abs(error_B)
        floor = max(float(np.median(size_B)), 0.1 * float(size_B.mean())) or 1e-12
        quantile = float(np.sort(size_B / (spread_B + floor))[rank - 1])
        return cls(quantile, floor, level) if math.isfinite(quantile + floor) else None

    def half_width(self, spread_B: Array) -> Array:
        """In the property's unit."""
        return self.quantile * (spread_B + self.floor)

    def as_json(self) -> dict[str, float]:
        return {"level": self.level, "quantile": self.quantile, "floor": self.floor}

    @classmethod
    def from_json(cls, value: Mapping[str, float]) -> Interval:
        """Raises `KeyError` or `ValueError` where it is not what `as_json` gives."""
        found = cls(value["quantile"], value["floor"], value["level"])
        if not (found.quantile >= 0 and found.floor > 0 and 0 < found.level < 1):
            raise ValueError(f"an interval of {dict(value)}")
        return found


def spread_between(each_KB: Array, weight_K: Array, group_K: Sequence[int]) -> Array:
    """How far the groups' means are apart: their weighted standard deviation, shape B; 0 for one group.

    The members of a group differ in seed and fold only. On a row that was held out, one of them answers for its
    group; on a new row all do. So only what groups say can be compared between the two.
    """
    groups = np.array(group_K)
    means, weights = [], []
    for group in np.unique(groups):
        inside = groups == group
        weights.append(weight_K[inside].sum())
        means.append(weight_K[inside] @ each_KB[inside] / weights[-1])
    return spread(np.array(means), np.array(weights))


def spread(mean_GB: Array, weight_G: Array) -> Array:
    """The weighted standard deviation of answers G × B, shape B."""
    share_G = weight_G / weight_G.sum()
    return np.sqrt(share_G @ (mean_GB - share_G @ mean_GB) ** 2)
