"""Method against method on the same test rows: is one better, and on how many targets.

On each target the absolute errors of the same rows are compared by Wilcoxon's signed-rank test (Biometrics Bull. 1, 80
(1945)), and the p-values corrected over the targets after Holm (Scand. J. Stat. 6, 65 (1979)). What the test does not
tell apart is "no significant difference", whichever mean is lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import wilcoxon

from xtlray.errors import RequestError
from xtlray.leaderboard.predictions import Predicted, read_predictions
from xtlray.records import ResultRecord
from xtlray.store import Store

ALPHA = 0.05
Verdict = Literal["better", "worse", "no significant difference"]


@dataclass(frozen=True)
class Comparison:
    """One target.

    Attributes:
        target: its name; `unit`: of the errors.
        rows_test: that both methods predicted.
        test_mae: of the method; `against_mae`: of the other one.
        p: of Wilcoxon's test, corrected after Holm; None where all errors are equal.
        verdict: on the method.
        counted: False for a target whose test rows, values included, are those of one before it.
    """

    target: str
    unit: str | None
    rows_test: int
    test_mae: float
    against_mae: float
    p: float | None
    verdict: Verdict
    counted: bool

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def compare(store: Store, results: Sequence[ResultRecord], method: str, against: str) -> list[Comparison]:
    """Compare two methods on every target that both have a result for on the same test rows.

    Of several results of a method on a target, from several sources or runs, the one with the lowest validation error
    stands for it.

    Raises:
        RequestError: there is no such target.
        StoreError: predictions are missing or damaged.
    """
    pairs: list[tuple[ResultRecord, Predicted, Predicted]] = []
    for target in sorted({result.target for result in results}):
        mine, other = (_best(results, target, name) for name in (method, against))
        if mine is None or other is None:
            continue
        one, two = read_predictions(store, mine), read_predictions(store, other)
        if one is not None and two is not None and one.rows_id == two.rows_id:
            pairs.append((mine, one, two))
    if not pairs:
        methods = ", ".join(sorted({result.method for result in results})) or "nothing: the leaderboard is empty"
        raise RequestError(
            "No target has results of both methods on the same test rows",
            got=f"{method} and {against}",
            allowed=methods,
            fix="run a job with both methods",
        )
    corrected = holm([_p_value(one, two) for _, one, two in pairs])
    found, known = [], set()
    for (mine, one, two), p in zip(pairs, corrected, strict=True):
        errors = float(one.errors_B.mean()), float(two.errors_B.mean())
        counted = one.rows_id not in known
        known.add(one.rows_id)
        verdict = _verdict(one, two, p)
        found.append(Comparison(mine.target, mine.unit, len(one.y_B), *errors, p, verdict, counted))
    return found


def summary(found: Sequence[Comparison]) -> Mapping[str, int]:
    """Targets, wins and losses by mean alone, as published tables count them, and the three verdicts."""
    counted = [each for each in found if each.counted]
    verdicts = {name: sum(each.verdict == name for each in counted) for name in ("better", "worse")}
    return {
        "targets": len(counted),
        "lower_mae": sum(each.test_mae < each.against_mae for each in counted),
        "higher_mae": sum(each.test_mae > each.against_mae for each in counted),
        **verdicts,
        "no_significant_difference": len(counted) - sum(verdicts.values()),
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number after Holm; what has no p-value is not counted."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, i) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        corrected[i] = least
    return corrected


def _best(results: Sequence[ResultRecord], target: str, method: str) -> ResultRecord | None:
    mine = [r for r in results if r.target == target and r.method == method and r.val_mae is not None]
    return min(mine, key=lambda r: (r.val_mae, r.source or "", r.run), default=None)


def _p_value(one: Predicted, two: Predicted) -> float | None:
    difference_B = one.errors_B - two.errors_B
    return float(wilcoxon(difference_B).pvalue) if np.any(difference_B) else None


def _verdict(one: Predicted, two: Predicted, p: float | None) -> Verdict:
    """Better where errors are lower by rank, which is what was tested; the means may say otherwise by an outlier."""
    if p is None or p >= ALPHA:
        return "no significant difference"
    difference_B = one.errors_B - two.errors_B
    rank_B = np.argsort(np.argsort(np.abs(difference_B))) + 1
    return "better" if (rank_B * np.sign(difference_B)).sum() < 0 else "worse"
