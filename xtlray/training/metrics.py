"""Error metrics as sums and counts: added up over batches and workers, divided once. Lower is better for all but R²."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtlray.records import SplitMetrics


@dataclass
class MeanError:
    """A mean that knows how many rows it stands on."""

    total: float = 0.0
    count: int = 0

    def add(self, total: float, count: int) -> None:
        self.total += total
        self.count += count

    @property
    def value(self) -> float:
        """The mean; NaN where nothing was counted."""
        return self.total / self.count if self.count else float("nan")


def mae(y_B: NDArray[np.float64], predicted_B: NDArray[np.float64]) -> float | None:
    """Mean absolute error in the unit of `y_B`; None for no rows."""
    return float(np.abs(y_B - predicted_B).mean()) if len(y_B) else None


def rmse(y_B: NDArray[np.float64], predicted_B: NDArray[np.float64]) -> float | None:
    """Root of the mean squared error in the unit of `y_B`; None for no rows."""
    return float(np.sqrt(np.square(y_B - predicted_B).mean())) if len(y_B) else None


def r2(y_B: NDArray[np.float64], predicted_B: NDArray[np.float64]) -> float | None:
    """Coefficient of determination; None for no rows or a constant target, where it is not defined."""
    spread = float(np.square(y_B - y_B.mean()).sum()) if len(y_B) else 0.0
    return 1.0 - float(np.square(y_B - predicted_B).sum()) / spread if spread > 0 else None


def split_metrics(y_B: NDArray[np.float64], predicted_B: NDArray[np.float64]) -> SplitMetrics:
    """All of them for one split."""
    return SplitMetrics(rows=len(y_B), mae=mae(y_B, predicted_B), rmse=rmse(y_B, predicted_B), r2=r2(y_B, predicted_B))
