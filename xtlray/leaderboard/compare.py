"""Method against method on the same test rows: is one better, and on how many targets.

On each target the absolute errors of the same rows are compared by Wilcoxon's signed-rank test (Biometrics Bull. 1, 80
(1945)), and the p-values corrected over the targets after Holm (Scand. J. Stat. 6, 65 (1979)). What the test does not
tell apart is "no significant difference", whichever mean is lower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from xtlray.errors import RequestError
from xtlray.leaderboard.predictions import read_predictions
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
        arm: which result stands for the method, as `method` or `method from source`; `against`: for the other one.
        test_mae: of the method; `against_mae`: of the other one.
        p: of Wilcoxon's test, corrected after Holm; None where all errors are equal.
        verdict: on the method.
        counted: False for a target whose test rows, values included, are those of one before it.
    """

    target: str
    unit: str | None
    rows_test: int
    arm: str
    against: str
    test_mae: float
    against_mae: float
    p: float | None
    verdict: Verdict
    counted: bool

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Judged:
    """What is compared of a result: absolute errors, and the same `rows_id` for the same test rows and values."""

    rows_id: str
    errors_B: NDArray[np.float64]


Judge = Callable[[ResultRecord], Judged | None]


def judge(store: Store) -> Judge:
    """Reads what results predicted, that of each once; None for one without test rows."""
    known: dict[str | None, Judged | None] = {}

    def read(result: ResultRecord) -> Judged | None:
        if result.predictions not in known:
            found = read_predictions(store, result)
            known[result.predictions] = Judged(found.rows_id, found.errors_B) if found else None
        return known[result.predictions]

    return read


def compare(store: Store, results: Sequence[ResultRecord], method: str, against: str) -> list[Comparison]:
    """Compare two methods on every target that both have a result for on the same test rows.

    A method may be a shell pattern, such as `sc-*` for all from scratch. Of several results of a method on a target,
    from several sources, the one with the lowest validation error stands for it, among those that were judged on the
    most rows, as errors on fewer folds are of other rows; of several runs, one that has both.

    Raises:
        RequestError: there is no such target.
        StoreError: predictions are missing or damaged.
    """
    found = compared(judge(store), by_target(results), method, against)
    if not found:
        methods = ", ".join(sorted({result.method for result in results})) or "nothing: the leaderboard is empty"
        raise RequestError(
            "No target has results of both methods on the same test rows",
            got=f"{method} and {against}",
            allowed=methods,
            fix="run a job with both methods",
        )
    return found


def by_target(results: Sequence[ResultRecord]) -> dict[str, list[ResultRecord]]:
    """The results that can be compared, by target, sorted."""
    found: dict[str, list[ResultRecord]] = {}
    for result in results:
        if result.predictions and result.val_mae is not None:
            found.setdefault(result.target, []).append(result)
    return {target: found[target] for target in sorted(found)}


def compared(read: Judge, results: Mapping[str, Sequence[ResultRecord]], method: str, against: str) -> list[Comparison]:
    """`compare`, of what `by_target` made and `judge` reads; nothing where there is no such target."""
    candidates = [_pair(read, mine, method, against) for mine in results.values()]
    pairs = [pair for pair in candidates if pair is not None]
    # The same rows and values under another name are no further evidence: they are corrected for, and counted, once.
    p_values = [_p_value(one, two) for _, _, one, two in pairs]
    distinct = {one.rows_id: p for (_, _, one, _), p in reversed([*zip(pairs, p_values, strict=True)])}
    found, known = [], set()
    for (mine, other, one, two), own in zip(pairs, p_values, strict=True):
        errors = float(one.errors_B.mean()), float(two.errors_B.mean())
        counted = one.rows_id not in known
        known.add(one.rows_id)
        among = {**distinct, one.rows_id: own}  # a copy's own predictions, in its original's place
        p = dict(zip(among, holm(list(among.values())), strict=True))[one.rows_id]
        verdict = _verdict(one, two, p)
        arms = _arm(mine), _arm(other)
        found.append(Comparison(mine.target, mine.unit, len(one.errors_B), *arms, *errors, p, verdict, counted))
    return found


def _pair(
    read: Judge, results: Sequence[ResultRecord], method: str, against: str
) -> tuple[ResultRecord, ResultRecord, Judged, Judged] | None:
    """The results of a target that stand for the two methods: of one version of its rows, that with most results."""
    versions: dict[tuple[str, str], list[ResultRecord]] = {}
    for result in results:
        versions.setdefault((result.data_hash, result.split_id), []).append(result)
    for _, group in sorted(versions.items(), key=lambda item: -len(item[1])):
        runs = [[result for result in group if result.run == run] for run in sorted({r.run for r in group})]
        found = [pair for of_run in runs if (pair := _of(of_run, method, against))]
        best = min(found, key=lambda pair: _order(pair[0]), default=None) or _of(group, method, against)
        if best is None:
            continue
        mine, other = best
        one, two = read(mine), read(other)
        if one is not None and two is not None and one.rows_id == two.rows_id:
            return mine, other, one, two
    return None


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


def _best(results: Sequence[ResultRecord], method: str) -> ResultRecord | None:
    mine = [result for result in results if fnmatchcase(result.method, method)]
    return min(mine, key=_order, default=None)


def _of(results: Sequence[ResultRecord], method: str, against: str) -> tuple[ResultRecord, ResultRecord] | None:
    mine, other = (_best(results, name) for name in (method, against))
    return (mine, other) if mine and other else None


def _order(result: ResultRecord) -> tuple[int, float, str, str]:
    assert result.val_mae is not None, "a result without a validation error is not compared"
    return -result.rows_val, result.val_mae, result.source or "", result.run


def _arm(result: ResultRecord) -> str:
    return f"{result.method} from {result.source}" if result.source else result.method


def _p_value(one: Judged, two: Judged) -> float | None:
    difference_B = one.errors_B - two.errors_B
    return float(wilcoxon(difference_B).pvalue) if np.any(difference_B) else None


def _verdict(one: Judged, two: Judged, p: float | None) -> Verdict:
    """Better where errors are lower by rank, which is what was tested; the means may say otherwise by an outlier."""
    if p is None or p >= ALPHA:
        return "no significant difference"
    difference_B = one.errors_B - two.errors_B
    difference_B = difference_B[difference_B != 0]  # as in the test: equal errors say nothing
    return "better" if (rankdata(np.abs(difference_B)) * np.sign(difference_B)).sum() < 0 else "worse"
