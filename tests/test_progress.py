"""How far an attempt is: what is told ends up in notes, few of them, and nothing of it disturbs the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from xtlray.errors import StoreError, StoreGoneError, WorkError
from xtlray.progress import KEEP, LONGEST_ERROR, MOST_ERRORS, Note, Notes, Progress
from xtlray.store import Store

ATTEMPT = "runs/r-12345678/attempts/1"
PATIENCE = 10.0  # seconds


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
    return found


def notes(store: Store) -> dict[int, Note]:
    """Those that are kept, by number."""
    folder = f"{ATTEMPT}/progress"
    return {n: Note.read(store.get_json(f"{folder}/{n}.json"), str(n)) for n in store.numbers(folder)}


def test_a_note_says_what_was_told() -> None:
    progress = Progress()
    assert (progress.note(20).doing, progress.note(20).stages) == ("starting", [])
    progress.expect("configurations", "trials", 40)
    progress.expect("seeds", "trials", 8)
    progress.begin("configurations", "trials", 41)
    progress.tell(done=12, failed=1, left_s=60.0, rows_per_s=1e4)
    note = progress.note(20, disk_full=0.5)
    assert note.doing == "configurations"
    assert [(s.name, s.done, s.total, s.failed) for s in note.stages] == [
        ("configurations", 12, 41, 1),
        ("seeds", 0, 8, 0),
    ]
    assert note.left_s == pytest.approx(60, abs=1)
    assert (note.rows_per_s, note.disk_full, note.every_s, note.ended) == (1e4, 0.5, 20, None)
    progress.begin("seeds", "trials", 8, done=2)
    later = progress.note(20)
    assert (later.doing, later.left_s, later.rows_per_s) == ("seeds", None, None)
    assert [(s.done, s.failed) for s in later.stages] == [(12, 1), (2, 0)]
    assert progress.note(20, ended="done").ended == "done"


def test_the_time_that_is_left_runs_down_between_two_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("xtlray.progress.time.monotonic", lambda: now[0])
    progress = Progress()
    progress.begin("pretraining", "epochs", 2)
    progress.tell(done=1, left_s=600.0)
    found = []
    for seconds in (0, 240, 1000):  # the epoch may take longer than the one before
        now[0] = 1000.0 + seconds
        found.append(progress.note(20).left_s)
    assert found == [600, 360, 0]


def test_of_failures_the_first_few_are_kept_in_one_line_each_without_secrets(no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    progress = Progress()
    for n in range(MOST_ERRORS + 3):
        progress.fail(f"trial {n}:\n  with very-secret in it" + "x" * 1000 * (n == 1))
    errors = progress.note(20).errors
    assert len(errors) == MOST_ERRORS
    assert errors[0] == "trial 0: with *** in it"
    assert len(errors[1]) == LONGEST_ERROR + 1


def test_what_is_told_before_any_stage_is_nothing() -> None:
    progress = Progress()
    progress.tell(done=3)
    assert progress.note(20).stages == []


def test_notes_are_written_while_the_work_goes_on_and_few_are_kept(store: Store) -> None:
    with Notes(store, ATTEMPT, Progress(), every=0.01):
        wait_for(lambda: max(notes(store), default=0) > KEEP + 2)
        assert {note.ended for note in notes(store).values()} == {None}
    kept = notes(store)
    assert list(kept) == list(range(max(kept) - KEEP + 1, max(kept) + 1))
    assert kept[max(kept)].ended == "done"


def test_a_stage_that_begins_is_noted_at_once(store: Store) -> None:
    progress = Progress()
    with Notes(store, ATTEMPT, progress, every=1000):
        wait_for(lambda: notes(store))
        progress.begin("pretraining", "epochs", 32)
        wait_for(lambda: [note for note in notes(store).values() if note.doing == "pretraining"])


@pytest.mark.parametrize(("error", "said"), [
    (WorkError("The loss has exploded", got="1e9"), "WorkError: The loss has exploded. Got: 1e9."),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
])  # fmt: skip
def test_the_last_note_says_how_it_ended(store: Store, error: BaseException, said: str) -> None:
    def work() -> None:
        with Notes(store, ATTEMPT, Progress(), every=1000):
            raise error

    with pytest.raises(type(error)):
        work()
    kept = notes(store)
    assert kept[max(kept)].ended == said


class GoneStore:
    """A store that takes so many seconds to say that it is gone."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.asked = seconds, 0

    def create_json(self, *_: Any) -> bool:
        self.asked += 1
        time.sleep(self.seconds)
        raise StoreGoneError("gone")


def test_a_store_that_is_gone_ends_nothing() -> None:
    gone = GoneStore(0)
    with Notes(gone, ATTEMPT, Progress(), every=0.01):  # type: ignore[arg-type]
        wait_for(lambda: gone.asked > 2)
    with pytest.raises(StoreError, match="of the work"), Notes(gone, ATTEMPT, Progress()):  # type: ignore[arg-type]
        raise StoreError("of the work")


def test_the_end_does_not_wait_for_a_store_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xtlray.progress.LAST_NOTE_S", 0.05)
    gone = GoneStore(2)
    began = time.monotonic()
    with Notes(gone, ATTEMPT, Progress(), every=0.01):  # type: ignore[arg-type]
        wait_for(lambda: gone.asked)
    assert time.monotonic() - began < 1
