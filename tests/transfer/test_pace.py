"""The time that a sweep has left: by method, by rung, by the rows of a target."""

from __future__ import annotations

import math

import pytest

from xtlray.records import TrialRecord
from xtlray.transfer.pace import OVERHEAD_S, Pace, visits
from xtlray.transfer.plan import COMPARE, KEEP, Arm, Facts, TrialSpec
from xtlray.transfer.settings import TransferSettings

ROWS = {"user/large": 6000, "user/small": 600}
FACTS = {name: Facts("d" * 64, rows) for name, rows in ROWS.items()}
NET, TREES = {"epochs": 60, "batch": 64}, {"regressor": "trees"}
SECONDS = {"base": 1e-6, "sc-dl-ef": 1e-4, "sc-ml-ef": 1e-3}  # of a visit of a row


def specs(rung: int, seeds: int) -> list[TrialSpec]:
    """Of two methods that have a choice, and of one that has none."""
    made = [
        TrialSpec(Arm(target, method, None), "d" * 64, config, seed, rung)
        for target in ROWS
        for method, config in (("sc-dl-ef", NET), ("sc-ml-ef", TREES))
        for seed in range(seeds)
    ]
    return made + [TrialSpec(Arm(target, "base", None), "d" * 64, {}, 0) for target in ROWS] * (rung == COMPARE)


def seconds(spec: TrialSpec) -> float:
    return SECONDS[spec.arm.method] * visits(spec.config, spec.rung, ROWS[spec.arm.target])


def ended(pace: Pace, spec: TrialSpec, now: float, fresh: bool = True, **changes: object) -> None:
    made = {
        "trial": spec.id,
        "run": "r",
        "attempt": 1,
        "target": spec.arm.target,
        "method": spec.arm.method,
        "source": None,
        "config": spec.config,
        "seed": spec.seed,
        "rung": spec.rung,
        "status": "ok",
        "protocol": "p",
        "split_id": "s",
        "rows_train": 1,
        "rows_val": 1,
        "seconds": seconds(spec),
    }
    pace.ended(TrialRecord(**{**made, **changes}), fresh, now)


@pytest.fixture
def pace() -> Pace:
    made = Pace(TransferSettings(targets=tuple(ROWS), seeds=3), FACTS)
    made.begin(specs(COMPARE, 2))
    return made


def test_a_trial_of_the_first_rung_visits_few_rows() -> None:
    assert (visits(NET, COMPARE, 6000), visits(NET, KEEP, 6000)) == (10 * 6000, 60 * 6000)
    assert (visits(TREES, COMPARE, 6000), visits(TREES, KEEP, 6000)) == (2000, 6000)
    assert (visits(TREES, COMPARE, 600), visits(TREES, KEEP, 600)) == (600, 600)


def test_what_is_left_is_known_as_soon_as_each_method_has_had_a_trial(pace: Pace) -> None:
    """Two at once, on the way through both rungs: it is about right from then on, and ends at nothing."""
    first, second = specs(COMPARE, 2), specs(KEEP, 3)
    work = sum(map(seconds, [*first, *second]))
    assert pace.left_s(100.0) is None
    now, done, seen = 100.0, 0.0, set()  # Ray has taken its time to start
    for stage in (first, second):
        pace.begin(stage)
        for spec, other in zip(stage[::2], stage[1::2], strict=True):
            now += max(seconds(spec), seconds(other))
            ended(pace, spec, now)
            ended(pace, other, now)
            done += seconds(spec) + seconds(other)
            seen.add(spec.arm.method)
            left = pace.left_s(now)
            assert left is not None
            if seen >= set(SECONDS) - {"base"}:  # whose trials are as good as nothing
                assert math.isclose(left, (work - done) / 2, rel_tol=0.3, abs_tol=2)
    assert pace.left_s(now) == 0


def test_trials_that_take_no_time_do_not_make_the_others_take_ages(pace: Pace) -> None:
    for spec in specs(COMPARE, 2):
        if spec.arm.method == "base":
            ended(pace, spec, 15.0, seconds=0.001)
    left = pace.left_s(20.0)
    assert left is not None
    assert left < 10 * sum(map(seconds, [*specs(COMPARE, 2), *specs(KEEP, 3)]))


def test_records_of_earlier_attempts_say_what_a_trial_takes_but_not_how_many_are_at_work(pace: Pace) -> None:
    first = specs(COMPARE, 2)
    for spec in first[:-1]:
        ended(pace, spec, 5.0, fresh=False)
    assert pace.left_s(5.0) is None
    ended(pace, first[-1], 10.0)
    left = pace.left_s(10.0)
    assert left == pytest.approx(sum(map(seconds, specs(KEEP, 3))), rel=0.15)


def test_what_died_says_nothing_of_what_a_trial_takes(pace: Pace) -> None:
    first = specs(COMPARE, 2)
    for spec in first[:4]:
        ended(pace, spec, 10.0)
    before = pace.left_s(10.0)
    ended(pace, first[4], 10.0, status="failed", seconds=0.0)
    after = pace.left_s(10.0)
    assert before is not None
    assert after is not None
    assert 0 < before - after < 2 * (seconds(first[4]) + OVERHEAD_S)
