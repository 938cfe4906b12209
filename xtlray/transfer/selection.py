"""Choosing, from validation figures alone. Pure functions: the same records in any order give the same choice.

Shape suffixes: B rows, A arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xtlray.records import TrialRecord
from xtlray.store import canonical_json

Array = NDArray[np.float64]
T = TypeVar("T")
_ROUNDS = 40
_PATIENCE = 8  # rounds that bring nothing
_PARTS = 5


def choose_config(records: Sequence[TrialRecord]) -> dict[str, Any] | None:
    """The configuration with the lowest mean validation MAE over its seeds; None where no trial succeeded.

    One that lacks a seed which others have is behind them all: its mean is of other rows. Ties go to the
    configuration that comes first in canonical JSON, so that arrival order decides nothing.
    """
    errors: dict[bytes, list[float]] = {}
    configs: dict[bytes, dict[str, Any]] = {}
    for record in records:
        if record.status == "ok" and record.val_mae is not None:
            key = canonical_json(record.config)
            configs[key] = record.config
            errors.setdefault(key, []).append(record.val_mae)
    if not errors:
        return None
    return configs[min(errors, key=lambda key: (-len(errors[key]), sum(sorted(errors[key])) / len(errors[key]), key))]


def choose_lowest(candidates: Iterable[tuple[float | None, str, T]]) -> T | None:
    """Of `(validation MAE, name, thing)` the thing with the lowest error, ties by name; None where there is none."""
    valid = [(error, name, thing) for error, name, thing in candidates if error is not None]
    return min(valid, key=lambda one: (one[0], one[1]))[2] if valid else None


def greedy_weights(answers_AB: Array, y_B: Array) -> Array:
    """Weights of an average with a low mean absolute error, shape A, adding up to one.

    Forward selection with replacement, after Caruana, Niculescu-Mizil, Crew and Ksikes (2004), "Ensemble selection
    from libraries of models": from the best one on, whichever lowers the error of the mean most is added, and the
    lowest error on the way is kept. Ties go to the first.

    Args:
        answers_AB: what each says of rows that it was not fitted on.
        y_B: their values.
    """
    chosen: list[int] = []
    total_B = np.zeros(len(y_B))
    best = (np.inf, 0)
    for size in range(1, _ROUNDS + 1):
        errors_A = np.abs((total_B + answers_AB) / size - y_B).mean(axis=1)
        pick = int(errors_A.argmin())
        chosen.append(pick)
        total_B = total_B + answers_AB[pick]
        if errors_A[pick] < best[0] * (1 - 1e-9):
            best = (float(errors_A[pick]), size)
        elif size - best[1] >= _PATIENCE:
            break
    count_A = np.bincount(chosen[: best[1] or 1], minlength=len(answers_AB))
    return count_A / count_A.sum()


def cross_weighted(
    answers_AB: Array, y_B: Array, fold_B: NDArray[np.integer[Any]], group_B: NDArray[np.integer[Any]]
) -> Array:
    """What the average says of each row when its weights are chosen without the row's fold, shape B.

    One fold alone is cut into parts by `group_B`, the composition of each row.
    """
    folds = np.unique(fold_B)
    if len(folds) < 2:
        fold_B = group_B % _PARTS
        folds = np.unique(fold_B)
    if len(folds) < 2:
        return greedy_weights(answers_AB, y_B) @ answers_AB
    mean_B = np.empty(len(y_B))
    for fold in folds:
        rest_B = fold_B != fold
        mean_B[~rest_B] = greedy_weights(answers_AB[:, rest_B], y_B[rest_B]) @ answers_AB[:, ~rest_B]
    return mean_B
