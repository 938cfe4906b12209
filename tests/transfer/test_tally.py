"""What is told of a sweep: to people, to the attempt's notes, and as metrics; Ray is not up here."""

from __future__ import annotations

from typing import Any

import pytest

from xtlray.progress import Progress
from xtlray.records import TrialRecord
from xtlray.transfer import gauges
from xtlray.transfer.gauges import Gauges
from xtlray.transfer.pace import Pace
from xtlray.transfer.plan import Arm, Facts, TrialSpec
from xtlray.transfer.settings import TransferSettings
from xtlray.transfer.tally import Tally

RUN = "sweep-1a2b3c4d"
SPECS = [
    TrialSpec(Arm(target, method, None), "d" * 64, {}, seed)
    for target in ("user/gap", "user/hardness")
    for method in ("base", "sc-dl-ef")
    for seed in (0, 1)
]


def pace() -> Pace:
    targets = ["user/gap", "user/hardness"]
    return Pace(TransferSettings(targets=tuple(targets)), {name: Facts("d" * 64, 110) for name in targets})


def record(spec: TrialSpec, val_mae: float | None = 0.5, **changes: Any) -> TrialRecord:
    values = {
        "trial": spec.id,
        "run": RUN,
        "attempt": 1,
        "target": spec.arm.target,
        "method": spec.arm.method,
        "source": None,
        "config": {},
        "seed": spec.seed,
        "status": "ok",
        "protocol": "p",
        "split_id": "s",
        "rows_train": 100,
        "rows_val": 10,
        "val_mae": val_mae,
        "seconds": 2.0,
    }
    return TrialRecord(**{**values, **changes})


def failed(spec: TrialSpec) -> TrialRecord:
    return record(spec, None, status="failed", error="ValueError: no")


@pytest.fixture
def tally() -> Tally:
    made = Tally(10, lambda text: said.append(text), Progress(), Gauges(RUN), pace())
    said: list[str] = []
    made.lines = said  # type: ignore[attr-defined]
    made.begin("configurations", SPECS)
    return made


def test_people_are_told_of_new_records_and_the_time_that_is_left(tally: Any) -> None:
    tally.tell(record(SPECS[0]), False)
    assert tally.lines == []
    tally.tell(record(SPECS[1], 0.25, seconds=60.0), True)
    tally.tell(failed(SPECS[2]), True)
    assert tally.lines[0].startswith("trial 2/10 user/gap base seed 1: validation MAE 0.25 (60.0 s; about 3 min left)")
    assert "sc-dl-ef seed 0: failed: ValueError: no" in tally.lines[1]


def test_a_trial_whose_process_died_before_any_other_had_ended_says_nothing_of_the_time(tally: Any) -> None:
    tally.tell(record(SPECS[0], None, status="failed", error="it died", seconds=0.0), True)
    assert tally.lines == ["trial 1/10 user/gap base seed 0: failed: it died (0.0 s)"]


def test_the_notes_of_the_attempt_have_each_stage(tally: Any) -> None:
    tally.tell(record(SPECS[0]), False)
    tally.tell(failed(SPECS[2]), True)
    note = tally.progress.note(20)
    (stage,) = note.stages
    assert (stage.name, stage.unit, stage.done, stage.total, stage.failed) == ("configurations", "trials", 2, 8, 1)
    assert note.errors == [f"{SPECS[2].id}: ValueError: no"]
    assert note.left_s is not None
    tally.begin("seeds", SPECS[:2])
    second = tally.progress.note(20).stages[1]
    assert (second.name, second.done, second.total, second.failed) == ("seeds", 0, 2, 0)


def test_metrics_count_what_was_found_and_what_is_new(tally: Any) -> None:
    assert tally.gauges.values["trials_planned", ()] == 10
    assert tally.gauges.values["trials_done", ("base",)] == 0  # from the start on
    for spec, fresh in zip(SPECS[:4], (False, False, True, True), strict=True):
        tally.tell(failed(spec) if spec is SPECS[3] else record(spec), fresh)
    tally.begin("seeds", SPECS[4:])
    values = tally.gauges.values
    assert (values["trials_done", ("base",)], values["trials_done", ("sc-dl-ef",)]) == (2, 1)
    assert (values["trials_failed", ("base",)], values["trials_failed", ("sc-dl-ef",)]) == (0, 1)


def test_metrics_know_which_trials_are_at_work(tally: Any) -> None:
    base, net = SPECS[0].id, SPECS[2].id
    values = tally.gauges.values
    for trial, is_running in ((base, True), (net, True), (SPECS[3].id, True), (base, True), (net, False)):
        tally.running(trial, is_running)
    assert (values["trials_running", ("base",)], values["trials_running", ("sc-dl-ef",)]) == (1, 1)
    for trial in (base, base, SPECS[3].id):
        tally.running(trial, False)
    assert (values["trials_running", ("base",)], values["trials_running", ("sc-dl-ef",)]) == (0, 0)


def test_metrics_have_the_best_error_and_the_newest_rate(tally: Any) -> None:
    for spec, error in zip(SPECS[:3], (0.5, 0.2, 0.4), strict=True):
        tally.tell(record(spec, error), True)
    tally.tell(record(SPECS[3], 0.3, history=[{}] * 5), True)
    tally.tell(record(SPECS[4], 7.0, seconds=0.0), True)  # of before there was a clock
    values = tally.gauges.values
    assert values["best_val_error", ("user/gap",)] == 0.2
    assert values["best_val_error", ("user/hardness",)] == 7.0
    assert values["rows_per_second", ("base",)] == 100 / 2
    assert values["rows_per_second", ("sc-dl-ef",)] == 100 * 5 / 2


def test_how_many_targets_have_a_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "MOST_TARGETS", 3)
    made = Gauges(RUN)
    for n in [0, 1, 2, 3, 4, 1]:
        made.set("best_val_error", float(n), f"user/t{n}")
    made.set("best_val_error", -1.0, "user/t2")
    assert {labels[0]: value for (_, labels), value in made.values.items()} == {
        "user/t0": 0.0,
        "user/t1": 1.0,
        "user/t2": -1.0,
    }


class BrokenRay:
    """A Ray whose metrics cannot be had."""

    def __init__(self) -> None:
        self.asked = 0

    def is_initialized(self) -> bool:
        self.asked += 1
        raise RuntimeError("no metrics agent")


def test_metrics_that_cannot_be_told_end_nothing_and_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = BrokenRay()
    monkeypatch.setattr(gauges, "ray", broken)
    tally = Tally(10, lambda text: None, Progress(), Gauges(RUN), pace())
    tally.begin("configurations", SPECS)
    for spec in SPECS:
        tally.running(spec.id, True)
        tally.tell(record(spec), True)
    assert tally.done == len(SPECS)
    assert broken.asked == 1
