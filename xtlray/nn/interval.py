"""Prediction intervals: split-conformal, scaled by how far a model's members are apart.

Papadopoulos, Proedrou, Vovk and Gammerman (2002), "Inductive confidence machines for regression"; scaled as in
Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), "Distribution-free predictive inference for regression",
section 5.2. For rows like those that it was made on, an interval holds the value with the probability `level`.

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
        floor: the median error there, in the property's unit: spreads alone may be close to zero.
        level: the share of rows that intervals hold.
    """

    quantile: float
    floor: float
    level: float = LEVEL

    @classmethod
    def fit(cls, error_B: Array, spread_B: Array, level: float = LEVEL) -> Interval | None:
        """From errors and spreads of held-out rows; None where they are too few for that level."""
        n = len(error_B)
        rank = math.ceil((n + 1) * level)
        if rank > n:
            return None
        size_B = np.abs(error_B)
        floor = float(np.median(size_B)) or float(size_B.mean()) or 1e-12
        return cls(float(np.sort(size_B / (spread_B + floor))[rank - 1]), floor, level)

    def half_width(self, spread_B: Array) -> Array:
        """In the property's unit."""
        return self.quantile * (spread_B + self.floor)

    def as_json(self) -> dict[str, float]:
        return {"level": self.level, "quantile": self.quantile, "floor": self.floor}

    @classmethod
    def from_json(cls, value: Mapping[str, float]) -> Interval:
        return cls(value["quantile"], value["floor"], value["level"])


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
