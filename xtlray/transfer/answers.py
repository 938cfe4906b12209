"""What an arm's trials said: of the rows that were held out from each of them, and of the test rows.

Shape suffixes: B rows of the pool, T test rows, K members (one for each seed), A arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtlray.errors import StoreError
from xtlray.nn.interval import Interval, spread, spread_between
from xtlray.nn.tensors import unpack_tensors
from xtlray.records import TrialRecord
from xtlray.store import Store
from xtlray.training.metrics import mae
from xtlray.transfer.plan import KEEP, Arm
from xtlray.transfer.selection import cross_weighted, greedy_weights
from xtlray.transfer.task import Pool

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """An arm's answers, in the property's unit.

    Attributes:
        records: of the trials whose members are the model, by seed.
        fold_B: what is said of each row by the members that did not see it; NaN where all did.
        test_KT: what each member says of the test rows.
    """

    records: tuple[TrialRecord, ...]
    fold_B: Array
    test_KT: Array

    @property
    def known_B(self) -> NDArray[np.bool_]:
        """Which rows were held out from some member."""
        return ~np.isnan(self.fold_B)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A weighted average of arms; of a single arm too.

    Attributes:
        parts: arms with their weights, which add up to one.
        val_mae: out of fold; of several arms, with weights chosen on other folds.
        rows_val: rows that it is the error of.
        interval: made from the same rows; None where they are too few.
    """

    parts: tuple[tuple[Arm, float, Answers], ...]
    val_mae: float | None
    rows_val: int
    interval: Interval | None

    @property
    def records(self) -> list[TrialRecord]:
        """The trials whose members it consists of, arm by arm."""
        return [record for _, _, answers in self.parts for record in answers.records]

    @property
    def weights(self) -> list[float]:
        """Of each of these, adding up to one."""
        return [weight / len(a.records) for _, weight, a in self.parts for _ in a.records]

    @property
    def groups(self) -> list[int]:
        """The arm of each of these."""
        return [g for g, (_, _, answers) in enumerate(self.parts) for _ in answers.records]

    def test(self) -> tuple[Array, Array, Array, Array]:
        """Of the test rows: mean, spread over the members, spread between arms (T each), each member's (K × T)."""
        each_KT = np.concatenate([answers.test_KT for _, _, answers in self.parts])
        weight_K = np.array(self.weights)
        return (
            weight_K @ each_KT,
            spread(each_KT, weight_K),
            spread_between(each_KT, weight_K, self.groups),
            each_KT,
        )


def read_answers(store: Store, records: Sequence[TrialRecord], pool: Pool) -> Answers | None:
    """The answers of an arm's kept trials; None where none succeeded.

    Raises:
        StoreError: a file of answers is missing, damaged or of other rows.
    """
    kept = sorted((r for r in records if r.rung == KEEP and r.status == "ok"), key=lambda record: record.seed)
    if not kept:
        return None
    total_B, count_B, tests = np.zeros(len(pool.y_B)), np.zeros(len(pool.y_B)), []
    for record in kept:
        held, test = _read(store, record, pool)
        rows = pool.task(record.seed).val_B
        total_B[rows] += held
        count_B[rows] += 1
        tests.append(test)
    with np.errstate(invalid="ignore"):
        fold_B = np.where(count_B > 0, total_B / count_B, np.nan)
    return Answers(tuple(kept), fold_B, np.stack(tests))


def _read(store: Store, record: TrialRecord, pool: Pool) -> tuple[Array, Array]:
    key = record.predictions
    if key is None:
        raise StoreError("A trial's record names no answers", got=record.trial, fix="run the job with --again")
    found = unpack_tensors(store.get(key), key)
    held, test = (found[name].numpy() if name in found else np.zeros(0) for name in ("fold", "test"))
    expected = len(pool.task(record.seed).val_B), len(pool.x_test_TX)
    if (len(held), len(test)) != expected:
        raise StoreError(
            "A trial's answers are of other rows",
            got=f"{key}: {len(held)} of the fold and {len(test)} of testing",
            allowed=f"{expected[0]} and {expected[1]}",
            fix="run the job with --again",
        )
    return held, test


def single(arm: Arm, answers: Answers, pool: Pool) -> Mixture:
    """One arm as a mixture."""
    known = answers.known_B
    error_B = pool.y_B[known] - answers.fold_B[known]
    interval = Interval.fit(error_B, np.zeros(len(error_B)))
    return Mixture(((arm, 1.0, answers),), _finite(np.abs(error_B).mean()), int(known.sum()), interval)


def mix(found: Mapping[Arm, Answers], pool: Pool) -> Mixture | None:
    """The average of a target's arms with the lowest out-of-fold error; None where there are none.

    Errors are compared on rows that all of these arms have answers for (see `comparable`).
    """
    arms, known = comparable(found, pool)
    if not arms:
        return None
    answers_AB, y_B = np.stack([found[arm].fold_B[known] for arm in arms]), pool.y_B[known]
    weight_A = greedy_weights(answers_AB, y_B)
    mean_B = cross_weighted(answers_AB, y_B, pool.fold_B[known], pool.composition_B[known])
    chosen = np.flatnonzero(weight_A)
    spread_B = spread(answers_AB[chosen], weight_A[chosen])
    error_B = y_B - mean_B
    parts = tuple((arms[a], float(weight_A[a]), found[arms[a]]) for a in chosen)
    return Mixture(parts, _finite(np.abs(error_B).mean()), int(known.sum()), Interval.fit(error_B, spread_B))


def comparable(found: Mapping[Arm, Answers], pool: Pool) -> tuple[list[Arm], NDArray[np.bool_]]:
    """The arms whose errors can be compared, by name, and the rows that all of them have answers for.

    An arm that lost half of its trials or more would leave too few rows to the others: it is left out. What a method
    that cannot fail has, such as the mean, is no measure of what others should have.
    """
    able = {arm: len(answers.records) for arm, answers in found.items() if arm.method != "base"} or {
        arm: len(answers.records) for arm, answers in found.items()
    }
    most = max(able.values(), default=0)
    arms = sorted((a for a, answers in found.items() if 2 * len(answers.records) > most), key=lambda arm: arm.slug)
    known = np.logical_and.reduce([np.ones(len(pool.y_B), bool), *(found[arm].known_B for arm in arms)])
    return (arms, known) if known.any() else ([], known)


def errors_to_compare(found: Mapping[Arm, Answers], pool: Pool) -> dict[Arm, float]:
    """The out-of-fold error of each comparable arm on the same rows: what the choice between them is made by."""
    arms, known = comparable(found, pool)
    y_B = pool.y_B[known]
    errors = {arm: float(np.abs(found[arm].fold_B[known] - y_B).mean()) for arm in arms}
    return {arm: error for arm, error in errors.items() if np.isfinite(error)}


def described(mixture: Mixture) -> dict[str, Any]:
    """An ensemble's make-up as plain data."""
    return {
        "members": [
            {"method": arm.method, "source": arm.source, "weight": weight, "config": answers.records[0].config}
            for arm, weight, answers in mixture.parts
        ]
    }


def base_error(pool: Pool, y_test_T: Array) -> float | None:
    """The test error of the mean of the training and validation targets."""
    return mae(y_test_T, np.full(len(y_test_T), pool.y_B.mean()))


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
