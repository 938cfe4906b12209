"""What runs are doing, told from their notes: alive, silent, stopped or done, by the store's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fake_s3 import FakeS3
from xtlray import status
from xtlray.errors import UnknownNameError, WorkError
from xtlray.progress import EVERY, Notes, Progress
from xtlray.runs import Attempt, Run, new_attempt, open_run
from xtlray.status import overview, status_of
from xtlray.store import Store

ENVIRONMENT = {"commit": "abc", "versions": {}, "hardware": "a processor, 2 cores", "started": "2026-01-02T03:04:05Z"}


def begun(store: Store, name: str = "job", n: int = 1) -> Attempt:
    """An attempt of a run of its own."""
    run = open_run(store, name, {"kind": "transfer", "name": name, "seeds": n})
    return new_attempt(store, run, ENVIRONMENT)


def sweeping(attempt: Attempt) -> None:
    """Tell of a sweep that is at its 12th of 40 trials, with a failure."""
    progress = attempt.progress
    progress.expect("configurations", "trials", 40)
    progress.expect("seeds", "trials", 8)
    progress.begin("configurations", "trials", 40)
    progress.tell(done=12, failed=1, left_s=600.0)
    progress.fail("a trial: it diverged")


def note(store: Store, attempt: Attempt, ended: str | None = None, number: int = 1) -> None:
    """One note, as a driver that then dies leaves it."""
    value = attempt.progress.note(EVERY, disk_full=0.4, ended=ended)
    store.create_json(f"{attempt.folder}/progress/{number}.json", value.as_json())


def finish(store: Store, run: Run, how: str = "done") -> None:
    store.create_json(
        f"{run.folder}/outcome.json",
        {
            "status": how,
            "attempt": 1,
            "models": ["user/gap@1"],
            "notes": ["x has no model"],
            "extra": {},
            "seconds": 61.5,
        },
    )


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the store's clock to so many seconds from now."""

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(status, "now_of", lambda store: datetime.now(UTC) + timedelta(seconds=seconds))

    return set_clock


def test_one_that_runs(store: Store, later: Any) -> None:
    attempt = begun(store)
    sweeping(attempt)
    note(store, attempt)
    later(EVERY)
    found = status_of(store, attempt.run.id)
    assert (found.state, found.attempt, found.doing) == ("running", 1, "configurations")
    assert (found.done, found.total, found.unit, found.failed) == (12, 40, "trials", 1)
    assert found.left_s == pytest.approx(600 - EVERY, abs=2)
    assert found.errors == ["a trial: it diverged"]
    assert [stage.name for stage in found.stages] == ["configurations", "seeds"]
    assert (found.disk_full, found.ended) == (0.4, None)
    assert found.details["kind"] == "transfer"
    assert (found.details["started"], found.details["hardware"]) == ("2026-01-02T03:04:05Z", "a processor, 2 cores")


@pytest.mark.parametrize(("records", "done"), [(3, 12), (20, 20), (60, 40)])
def test_records_that_came_after_the_last_note_are_counted(store: Store, later: Any, records: int, done: int) -> None:
    attempt = begun(store)
    sweeping(attempt)
    note(store, attempt)
    for n in range(records):
        store.create_json(f"{attempt.run.folder}/trials/t{n}.json", {})
    later(1000)
    found = status_of(store, attempt.run.id)
    assert (found.state, found.done, found.stages[0].done, found.stages[1].done) == ("silent", done, done, 0)


def test_records_of_the_stage_before_are_not_counted_again(store: Store) -> None:
    attempt = begun(store)
    sweeping(attempt)
    attempt.progress.tell(done=40)
    attempt.progress.begin("seeds", "trials", 8)
    note(store, attempt)
    for n in range(43):
        store.create_json(f"{attempt.run.folder}/trials/t{n}.json", {})
    found = status_of(store, attempt.run.id)
    assert (found.doing, found.done, found.stages[0].done) == ("seeds", 3, 40)


def test_one_whose_notes_have_stopped_is_silent_and_keeps_how_far_it_was(store: Store, later: Any) -> None:
    attempt = begun(store)
    sweeping(attempt)
    note(store, attempt)
    later(1000)
    found = status_of(store, attempt.run.id)
    assert (found.state, found.done, found.failed, found.left_s) == ("silent", 12, 1, None)
    assert found.silent_s == pytest.approx(1000, abs=5)
    assert found.last_sign
    assert abs(datetime.fromisoformat(found.last_sign) - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize(("seconds", "state"), [(-3600, "running"), (3 * EVERY, "running"), (4 * EVERY, "silent")])
def test_some_notes_may_be_late_and_a_clock_that_goes_back_does_no_harm(
    store: Store, later: Any, seconds: float, state: str
) -> None:
    attempt = begun(store)
    note(store, attempt)
    later(seconds)
    found = status_of(store, attempt.run.id)
    assert found.state == state
    assert found.silent_s is not None
    assert found.silent_s >= 0


def test_ages_are_by_the_clock_of_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = begun(store)
    note(store, attempt)
    monkeypatch.setattr("xtlray.clock.datetime", None)  # that of this machine is not asked for
    assert status_of(store, attempt.run.id).state == "running"


def test_one_that_ended_before_it_was_done(store: Store) -> None:
    attempt = begun(store)
    sweeping(attempt)
    note(store, attempt)
    note(store, attempt, "WorkError: the store failed a trial", number=2)
    found = status_of(store, attempt.run.id)
    assert (found.state, found.ended) == ("stopped", "WorkError: the store failed a trial")
    assert found.left_s is None


def test_between_its_end_and_its_outcome_it_runs_but_not_for_ever(store: Store, later: Any) -> None:
    attempt = begun(store)
    note(store, attempt, "done")
    assert status_of(store, attempt.run.id).state == "running"
    later(1000)
    assert status_of(store, attempt.run.id).state == "silent"


@pytest.mark.parametrize("how", ["done", "failed"])
def test_one_that_is_over(store: Store, how: str) -> None:
    attempt = begun(store)
    finish(store, attempt.run, how)
    found = status_of(store, attempt.run.id)
    assert (found.state, found.silent_s, found.errors) == (how, None, ["x has no model"])
    assert found.details["models"] == ["user/gap@1"]


def test_one_that_is_over_keeps_its_failures(store: Store) -> None:
    attempt = begun(store)
    sweeping(attempt)
    note(store, attempt, "done")
    finish(store, attempt.run)
    for found in (status_of(store, attempt.run.id), *overview(store)):
        assert (found.state, found.failed) == ("done", 1)
        assert [stage.name for stage in found.stages] == ["configurations", "seeds"]


def test_the_newest_attempt_counts(store: Store, later: Any) -> None:
    first = begun(store)
    note(store, first, "KeyboardInterrupt")
    second = begun(store)
    assert second.number == 2
    later(1000)
    found = status_of(store, first.run.id)
    assert (found.state, found.attempt, found.doing) == ("silent", 2, None)  # it has not written a note yet
    note(store, second)
    later(0)
    assert status_of(store, first.run.id).state == "running"


def test_of_attempts_at_once_one_that_is_at_work_counts(store: Store, later: Any) -> None:
    first, second, third = (begun(store) for _ in range(3))
    sweeping(first)
    note(store, first)
    note(store, second, "KeyboardInterrupt")
    note(store, third, "RequestError: the cluster is too small")
    found = status_of(store, first.run.id)
    assert (found.state, found.attempt, found.done, found.ended) == ("running", 1, 12, None)
    later(1000)
    found = status_of(store, first.run.id)
    assert (found.state, found.attempt, found.ended) == ("stopped", 3, "RequestError: the cluster is too small")


def test_one_that_has_just_begun_runs_although_it_has_no_note_yet(store: Store) -> None:
    attempt = begun(store)
    assert status_of(store, attempt.run.id).state == "running"


def test_a_number_that_nobody_got_to_claim_is_no_attempt(store: Store) -> None:
    run = open_run(store, "job", {"kind": "transfer", "name": "job"})
    assert store.local_path is not None
    (store.local_path / run.folder / "attempts" / "1").mkdir(parents=True)
    assert status_of(store, run.id).state == "waiting"
    attempt = new_attempt(store, run, ENVIRONMENT)
    note(store, attempt)
    (store.local_path / run.folder / "attempts" / str(attempt.number + 1)).mkdir()
    found = status_of(store, run.id)
    assert (found.state, found.attempt, found.details["hardware"]) == (
        "running", attempt.number, "a processor, 2 cores"
    )  # fmt: skip


def test_one_without_an_attempt_waits(store: Store) -> None:
    run = open_run(store, "job", {"kind": "pretrain", "name": "job"})
    assert status_of(store, run.id).state == "waiting"


def test_a_note_that_was_deleted_while_we_looked_is_passed_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = begun(store)
    for number in (1, 2, 10):
        note(store, attempt, number=number)
    listing = store.listing
    key = f"{attempt.folder}/progress/10.json"

    def then_deleted(prefix: str, after: str | None = None) -> Any:
        found = listing(prefix, after)
        store.delete([key])
        return found

    monkeypatch.setattr(store, "listing", then_deleted)
    found = status_of(store, attempt.run.id)
    assert found.state == "running"


def test_a_note_that_is_damaged_is_passed_over(store: Store) -> None:
    attempt = begun(store)
    sweeping(attempt)
    note(store, attempt)
    store.create(f"{attempt.folder}/progress/2.json", b"")  # as a power cut leaves it
    (found,) = overview(store)
    assert (found.state, found.done) == ("running", 12)


@pytest.mark.parametrize("name", ["", "..", "a/b", "Job", "jop-1a2b3c4d"])
def test_an_unknown_run_is_refused_with_the_nearest(store: Store, name: str) -> None:
    attempt = begun(store)
    with pytest.raises(UnknownNameError, match="no run of that name") as raised:
        status_of(store, name)
    assert attempt.run.id in str(raised.value)


def test_an_overview_has_the_unfinished_first_and_the_last_few_that_are_done(store: Store, later: Any) -> None:
    done = []
    for n in range(4):
        attempt = begun(store, f"done{n}", n)
        finish(store, attempt.run)
        done.append(attempt.run.id)
    silent, running = begun(store, "silent"), begun(store, "running")
    note(store, silent)
    note(store, running)
    ids = [each.run for each in overview(store, finished=2)]
    assert set(ids[:2]) == {silent.run.id, running.run.id}
    assert set(ids[2:]) < set(done)
    assert len(ids) == 4
    assert [each.state for each in overview(store)] == ["running"] * 2 + ["done"] * 4
    assert overview(Store.open(str(store.local_path) + "-2")) == []


def test_an_overview_looks_at_few_keys(fake_s3: FakeS3, s3: Store) -> None:
    """Of each run one lookup, and of one that goes on a handful more; no trial's record is read."""
    going = begun(s3, "going")
    sweeping(going)
    note(s3, going)
    for n in range(50):
        s3.create_json(f"{going.run.folder}/trials/t{n}.json", {})
    for n in range(3):
        finish(s3, begun(s3, f"done{n}", n).run)
    before = len(fake_s3.requests)
    assert len(overview(s3)) == 4
    asked = fake_s3.requests[before:]
    assert not [path for _, path, _ in asked if "trials/t" in path]
    assert len(asked) < 25


def test_what_a_driver_leaves_is_what_is_told(store: Store) -> None:
    """Notes by the thread that writes them, through an end that nobody foresaw."""
    attempt = begun(store)

    def work() -> None:
        with Notes(store, attempt.folder, attempt.progress):
            sweeping(attempt)
            raise WorkError("The training workers failed", got="a disk that is full")

    with pytest.raises(WorkError):
        work()
    found = status_of(store, attempt.run.id)
    assert (found.state, found.done) == ("stopped", 12)
    assert found.ended == "WorkError: The training workers failed. Got: a disk that is full."


def test_json_is_flat() -> None:
    progress = Progress()
    progress.begin("pretraining", "epochs", 3)
    found = status.RunStatus("r", "done", stages=progress.note(1).stages, details={"kind": "pretrain", "models": []})
    value = found.as_json()
    assert value["stages"] == [{"name": "pretraining", "unit": "epochs", "done": 0, "total": 3, "failed": 0}]
    assert (value["kind"], value["models"]) == ("pretrain", [])
    assert "details" not in value
