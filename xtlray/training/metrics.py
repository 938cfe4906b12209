"""Error metrics as sums and counts: added up over batches and workers, divided once. Lower is better for all but R²."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from xtlray.records import SplitMetrics


class MeanErrors:
    """The mean error of each of P properties, as sums and counts that stay on their device until they are read."""

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None  # float64 [2, P]: totals, counts

    def add(self, total_P: torch.Tensor, count_P: torch.Tensor) -> None:
        """Add the errors of some rows."""
        new = torch.stack([total_P.double(), count_P.double()])
        self._sums = new if self._sums is None else self._sums.to(new.device) + new

    @property
    def totals(self) -> list[float]:
        """Sum of errors of each property; none before the first rows."""
        return [] if self._sums is None else self._sums[0].tolist()

    @property
    def counts(self) -> list[float]:
        """Number of labels of each property."""
        return [] if self._sums is None else self._sums[1].tolist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MeanErrors) and self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]

    def as_json(self) -> dict[str, list[float]]:
        return {"totals": self.totals, "counts": self.counts}

    @classmethod
    def from_json(cls, value: dict[str, list[float]]) -> MeanErrors:
        made = cls()
        if value["totals"]:
            made.add(torch.tensor(value["totals"], dtype=torch.float64), torch.tensor(value["counts"]))
        return made


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
