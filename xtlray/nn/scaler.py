"""The target scaler: part of the model, fitted on training rows only, so that a model answers in physical units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtlray.nn.warp import Warp, WarpKind


@dataclass(frozen=True)
class TargetScaler:
    """Standardisation of P properties, each on its own: scaled = (value - mean) / scale.

    A constant property has scale 1, so that scaling and its inverse stay defined. With a `warp`, it is the warped
    values of the one property that are standardised.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    warp: Warp | None = None

    @classmethod
    def fit(cls, y_BP: NDArray[np.float64]) -> TargetScaler:
        """Mean and standard deviation of each column; missing labels (NaN) do not count."""
        return cls.of_moments(np.nanmean(y_BP, axis=0), np.nanstd(y_BP, axis=0))

    @classmethod
    def fit_warped(cls, kind: WarpKind | None, y_B: NDArray[np.float64]) -> TargetScaler:
        """Of one property, its values warped first; None warps nothing."""
        warp = Warp.fit(kind, y_B) if kind else None
        plain = cls.fit((warp.forward(y_B) if warp else y_B)[:, np.newaxis])
        return cls(plain.mean, plain.scale, warp)

    @classmethod
    def of_moments(cls, mean_P: NDArray[np.float64], spread_P: NDArray[np.float64]) -> TargetScaler:
        """From the mean and the standard deviation of each property's training rows."""
        # A spread below the rounding of the values themselves is a constant, not a scale.
        flat = spread_P <= 1e-12 * np.abs(mean_P)
        return cls(tuple(map(float, mean_P)), tuple(map(float, np.where(flat, 1.0, spread_P))))

    def transform(self, y_BP: NDArray[np.float64]) -> NDArray[np.float64]:
        """Physical → scaled."""
        y_BP = self.warp.forward(y_BP) if self.warp else y_BP
        return (y_BP - np.asarray(self.mean)) / np.asarray(self.scale)

    def inverse(self, z_BP: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scaled → physical."""
        y_BP = z_BP * np.asarray(self.scale) + np.asarray(self.mean)
        return self.warp.back(y_BP) if self.warp else y_BP

    def as_json(self) -> dict[str, list[float]]:
        return {"mean": list(self.mean), "scale": list(self.scale), **(self.warp.as_json() if self.warp else {})}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[float]]) -> TargetScaler:
        """Raises `KeyError` or `ValueError` where it is not what `as_json` gives."""
        mean, scale = tuple(value["mean"]), tuple(value["scale"])
        if not mean or len(mean) != len(scale):
            raise ValueError(f"{len(mean)} means and {len(scale)} scales")
        if not (np.isfinite([*mean, *scale]).all() and min(scale) > 0):
            raise ValueError(f"a mean of {mean} and a scale of {scale}")
        warp = Warp.from_json(value)
        if warp and len(mean) != 1:
            raise ValueError(f"a warp of {len(mean)} properties")
        return cls(mean, scale, warp)
