"""Runs and attempts: ids, numbers, and what a resume under other versions says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.logs import heard
from xtlray import provenance
from xtlray.runs import Run, new_attempt, newest_run, now, open_run, run_id
from xtlray.store import Store

IDENTITY = {"kind": "pretrain", "name": "demo", "epochs": 2, "data": {"a/b": "abc"}}
ENVIRONMENT = {"commit": "abc", "versions": {"torch": "1"}}


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the logger of runs says."""
    with heard("xtlray.runs") as lines:
        yield lines


def test_the_id_is_that_of_the_job_everywhere() -> None:
    assert run_id("demo", IDENTITY) == "demo-4158bc92"
    assert run_id("demo", dict(reversed(IDENTITY.items()))) == "demo-4158bc92"
    assert run_id("demo", {**IDENTITY, "epochs": 3}) != "demo-4158bc92"


def test_again_counts_and_the_newest_is_meant(store: Store) -> None:
    first = open_run(store, "demo", IDENTITY)
    assert open_run(store, "demo", IDENTITY) == first
    assert first.id == run_id("demo", IDENTITY)
    second = open_run(store, "demo", IDENTITY, again=True)
    assert second.id == f"{first.id}-2"
    assert open_run(store, "demo", IDENTITY) == second
    assert open_run(store, "demo", IDENTITY, again=True).id == f"{first.id}-3"
    assert yaml.safe_load(store.get(f"runs/{first.id}/job.yaml")) == IDENTITY


def test_looking_for_a_run_begins_none(store: Store) -> None:
    assert newest_run(store, "demo", IDENTITY) is None
    assert store.list("") == []
    for again in (False, True, True):
        opened = open_run(store, "demo", IDENTITY, again)
        assert newest_run(store, "demo", IDENTITY) == opened


def test_again_where_there_is_none_is_the_first(store: Store) -> None:
    assert open_run(store, "demo", IDENTITY, again=True).id == run_id("demo", IDENTITY)


def test_runs_started_again_at_once_are_different_runs(store: Store) -> None:
    open_run(store, "demo", IDENTITY)
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: open_run(store, "demo", IDENTITY, again=True).id, range(6)))
    assert len(set(runs)) == 6


def test_attempts_are_numbered(store: Store, said: list[str]) -> None:
    run = open_run(store, "demo", IDENTITY)
    with ThreadPoolExecutor(6) as pool:
        attempts = list(pool.map(lambda _: new_attempt(store, run, ENVIRONMENT), range(6)))
    assert sorted(attempt.number for attempt in attempts) == [1, 2, 3, 4, 5, 6]
    assert attempts[0].folder == f"runs/{run.id}/attempts/{attempts[0].number}"
    assert said == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"commit": "def"}, ["another commit"]),
        ({"versions": {"torch": "2"}}, ["another library versions"]),
        ({"commit": None, "versions": {}}, ["another commit and other library versions"]),
        ({"hardware": "another"}, []),
    ],
)
def test_a_resume_under_other_versions_says_so(
    store: Store, said: list[str], changes: dict[str, object], expected: list[str]
) -> None:
    run = open_run(store, "demo", IDENTITY)
    new_attempt(store, run, ENVIRONMENT)
    new_attempt(store, run, {**ENVIRONMENT, **changes})
    assert len(said) == len(expected)
    assert all(word in line for word, line in zip(expected, said, strict=True))


def test_the_outcome_of_a_run(store: Store) -> None:
    run = Run("demo-1", IDENTITY)
    assert run.outcome(store) is None
    store.create_json("runs/demo-1/outcome.json", {"status": "done"})
    assert run.outcome(store) == {"status": "done"}


def test_the_time_is_utc_to_the_second() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", now())


def test_provenance_tells_what_results_depend_on() -> None:
    found = provenance.environment()
    assert set(found) == {"commit", "versions", "hardware", "platform", "executable"}
    assert {"python", "xtlray", "torch", "ray", "numpy"} <= set(found["versions"])
    assert found["commit"] is None or re.fullmatch("[0-9a-f]{12}(-dirty)?", found["commit"])
    assert provenance.cores() >= 1
    assert f"{provenance.cores()} cores" in provenance.hardware()
