"""The chaos benchmark: its check of the records, its draw, its settings; all of it runs with the tests that kill."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from xtlray.bench import chaos
from xtlray.bench.bench import Place
from xtlray.bench.chaos import BENCH, ChaosBenchSettings, Check, Storm, _rate, check_records, shuffled
from xtlray.errors import RequestError
from xtlray.records import TrialRecord
from xtlray.store import canonical_json

JOB = Path(__file__).resolve().parents[2] / "jobs" / "bench" / "chaos.yaml"


def record(trial: str, began: float = 0.0, **changes: Any) -> bytes:
    made: dict[str, Any] = {
        "trial": trial,
        "run": "r",
        "attempt": 1,
        "target": "bench/sleep",
        "method": "sleep",
        "source": None,
        "config": {},
        "seed": 0,
        "status": "ok",
        "protocol": "p",
        "split_id": "s",
        "rows_train": 1,
        "rows_val": 1,
        "history": [{"process": "p", "began": began, "ended": began + 4}],
    }
    return canonical_json(TrialRecord(**(made | changes)).as_json())


WHOLE = {name: record(name) for name in "abc"}
GOOD = Check(trials=3, records=3, lost=0, doubled=0, changed=0, failed=0)


@pytest.mark.parametrize(("records", "seen", "expected"), [
    (WHOLE, {"a": WHOLE["a"]}, GOOD),
    ({name: WHOLE[name] for name in "ab"}, {}, replace(GOOD, records=2, lost=1)),
    (WHOLE | {"a-2": WHOLE["a"]}, {}, replace(GOOD, records=4, doubled=1)),
    (WHOLE | {"d": record("d")}, {}, replace(GOOD, records=4, doubled=1)),  # of no trial that there is
    (WHOLE, {"a": record("a", began=9)}, replace(GOOD, changed=1)),
    ({name: WHOLE[name] for name in "ab"}, {"c": WHOLE["c"]}, replace(GOOD, records=2, lost=1, changed=1)),
    (WHOLE | {"b": record("b", status="failed")}, {}, replace(GOOD, failed=1)),
])  # fmt: skip
def test_each_trial_must_have_its_first_record_and_one(
    records: dict[str, bytes], seen: dict[str, bytes], expected: Check
) -> None:
    found = check_records(records, seen, list("abc"))
    assert found == expected
    assert found.passed is (expected == GOOD)


def test_the_rate_is_from_the_first_beginning_to_the_last_end() -> None:
    records = {str(n): record(str(n), began=28 * n) for n in range(3)}
    assert _rate(records) == pytest.approx(60 * 3 / 60)


def test_everything_has_its_turn_before_anything_has_another() -> None:
    drawn = shuffled(("trial", "trial", "worker", "head"), random.Random(3))
    decks = [[next(drawn) for _ in range(4)] for _ in range(20)]
    assert {tuple(sorted(deck)) for deck in decks} == {("head", "trial", "trial", "worker")}
    assert len({tuple(deck) for deck in decks}) > 5


class Driver:
    """In the place of the program: what it is found to have ended with, each time that it is looked at."""

    def __init__(self, codes: list[int | None]) -> None:
        self.popen = SimpleNamespace(poll=lambda: codes.pop(0))

    def last_words(self) -> str:
        return "the cluster is gone"


def test_a_driver_that_gave_up_is_started_again_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    place = Place(None, "runs/r/attempts/1", None, said.append)  # type: ignore[arg-type]
    storm = Storm(place, ChaosBenchSettings(bench="chaos"), 3)
    storm._began = time.monotonic()
    drivers = [Driver([None, 1]), Driver([-signal.SIGKILL]), Driver([None, 0])]

    def start() -> None:
        storm._driver = drivers.pop(0)  # type: ignore[assignment]

    monkeypatch.setattr(storm, "_start_driver", start)
    monkeypatch.setattr(chaos, "LOOK_EVERY", 0.0)
    start()
    storm._rage(limit=60)
    assert (storm.gave_up, drivers) == (1, [])
    assert said == ["0 s: the driver gave up: the cluster is gone"]


def test_its_job_says_what_its_defaults_are() -> None:
    job = yaml.safe_load(JOB.read_text())
    given = {name: value for name, value in job.items() if name not in ("kind", "name")}
    assert ChaosBenchSettings.parse(given, "test") == ChaosBenchSettings(bench="chaos")
    assert BENCH.settings is ChaosBenchSettings


def test_only_what_it_started_can_be_named() -> None:
    with pytest.raises(RequestError, match="victims"):
        ChaosBenchSettings.parse({"bench": "chaos", "victims": ["machine"]}, "test")
