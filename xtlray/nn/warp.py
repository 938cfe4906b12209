"""Monotone maps of a target with a long tail, so that a few large values do not decide what is learned of the others.

A model trained on warped values answers in the unit all the same: what it says is mapped back, and stays within the
range of the values that the warp was fitted on.

Shape suffixes: B rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WarpKind = Literal["log", "rank"]
_KNOTS = 256
_TAIL = 6.0
_MOSTLY = 2 / 3


@dataclass(frozen=True)
class Warp:
    """A map of values to warped values, and back.

    `log` is sign(y) ln(1 + |y| / s), s the median of |y|: straight near zero, logarithmic in both tails. `rank` is
    the share of values below y, straight between the knots.

    Attributes:
        kind: which.
        values: of `log`: s, the lowest and the highest value; of `rank`: the knots.
        levels: of `rank`: the warped value at each knot.
    """

    kind: WarpKind
    values: tuple[float, ...]
    levels: tuple[float, ...] = ()

    @classmethod
    def fit(cls, kind: WarpKind, y_B: Array) -> Warp:
        """Of the training rows. Raises `ValueError` for another kind."""
        if kind == "log":
            sizes = np.abs(y_B[y_B != 0])
            middle = float(np.median(sizes)) if len(sizes) else 1.0
            return cls("log", (middle, float(y_B.min()), float(y_B.max())))
        if kind != "rank":
            raise ValueError(f"no warp {kind!r}: log or rank")
        ordered = np.sort(y_B)
        places = np.unique(np.linspace(0, len(ordered) - 1, min(_KNOTS, len(ordered))).round().astype(int))
        knots, of_knot = np.unique(ordered[places], return_inverse=True)
        # Equal values share the middle of their places.
        levels = np.bincount(of_knot, places / max(1, len(ordered) - 1)) / np.bincount(of_knot)
        return cls("rank", tuple(map(float, knots)), tuple(map(float, levels)))

    def forward(self, y: Array) -> Array:
        """Values → warped values."""
        if self.kind == "log":
            return np.sign(y) * np.log1p(np.abs(y) / self.values[0])
        return np.interp(y, self.values, self.levels)

    def back(self, z: Array) -> Array:
        """Warped values → values, within the range of the rows that the warp was fitted on."""
        if self.kind == "rank":
            return np.interp(z, self.levels, self.values)
        middle, low, high = self.values
        z = np.clip(z, self.forward(np.array(low)), self.forward(np.array(high)))
        return np.clip(np.sign(z) * middle * np.expm1(np.abs(z)), low, high)

    def as_json(self) -> dict[str, list[float]]:
        return {self.kind: list(self.values), **({"levels": list(self.levels)} if self.levels else {})}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[float]]) -> Warp | None:
        """None where there is none. Raises `ValueError` or `KeyError` where it is no warp of ours."""
        numbers = [number for name in ("log", "rank", "levels") for number in value.get(name, ())]
        if not np.isfinite(numbers).all():
            raise ValueError("a warp of infinite numbers")
        if "log" in value:
            middle, low, high = value["log"]
            if not (middle > 0 and low <= high):
                raise ValueError(f"a log warp of {value['log']}")
            return cls("log", (middle, low, high))
        if "rank" not in value:
            return None
        knots, levels = tuple(value["rank"]), tuple(value["levels"])
        rising = (np.diff(knots) > 0).all() and (np.diff(levels) >= 0).all()
        if not knots or len(knots) != len(levels) or not rising:
            raise ValueError("a rank warp whose knots do not rise")
        return cls("rank", knots, levels)


def mostly_one_value(y_B: Array) -> bool:
    """Whether more than two thirds of the values are one and the same, such as the gap of metals."""
    return bool(np.unique(y_B, return_counts=True)[1].max() > _MOSTLY * len(y_B))


def long_tailed(y_B: Array) -> bool:
    """Whether a few values reach far beyond the others: the 1st or 99th percentile, six times beyond the quartiles."""
    low, first, third, high = np.quantile(y_B, [0.01, 0.25, 0.75, 0.99])
    width = third - first
    if width <= 0:
        return bool(high > low)  # half of the values are one and the same
    return bool(max(high - third, first - low) > _TAIL * width) or bool(np.ptp(y_B) > 100 * width)
