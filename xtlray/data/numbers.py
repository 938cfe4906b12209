"""Cells of a target column to float64: a number, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MISSING, NOT_A_NUMBER, INFINITE = "target missing", "target not a number", "target infinite"


def numbers(cells: Sequence[Any]) -> tuple[np.ndarray, dict[int, str]]:
    """Cells (texts, numbers or None) as float64, and for each that is none the reason, by row from 0.

    Nothing (None or blank) is missing; `nan` and any other text that is no number, `1,5` or `1_0` say, is not a
    number; `inf` and what overflows is infinite. The value of such a row is NaN.
    """
    value_B = np.empty(len(cells))
    for i, cell in enumerate(cells):
        value_B[i] = _number(cell)
    reasons: dict[int, str] = {}
    for i in np.flatnonzero(~np.isfinite(value_B)).tolist():
        cell = cells[i]
        missing = cell is None or (isinstance(cell, str) and not cell.strip())
        reasons[i] = MISSING if missing else INFINITE if np.isinf(value_B[i]) else NOT_A_NUMBER
    value_B[list(reasons)] = np.nan
    # -0.0 equals 0.0, but its bytes differ: one spelling, for the data hash.
    return value_B + 0.0, reasons


def _number(cell: Any) -> float:
    try:
        return float("nan") if cell is None or (isinstance(cell, str) and "_" in cell) else float(cell)
    except (ValueError, TypeError):
        return float("nan")
    except OverflowError:
        return float("inf")
