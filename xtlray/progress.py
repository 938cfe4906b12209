"""How far an attempt is: noted in its folder every few seconds by the process that drives it.

Whoever reaches the store can tell from the notes what a run does, wherever it is, and whether it is alive. Each note is
a file of its own, created once, `attempts/<n>/progress/<k>.json`; the newest few are kept.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Literal, Self

from pydantic import Field

from xtlray.errors import StoreError
from xtlray.record import Record
from xtlray.scratch import DiskWatch
from xtlray.scrub import scrub
from xtlray.store import Store

log = logging.getLogger("xtlray.progress")
FIRST, EVERY = 1.0, 20.0  # s between two notes: at first, and in the long run
KEEP = 3  # notes; a reader may be at one that has just become old
MOST_ERRORS, LONGEST_ERROR = 5, 300
LAST_NOTE_S = 5.0  # that the end of an attempt waits for its last note: the store may be gone
FOLDER = "progress"

Unit = Literal["epochs", "trials", ""]


class Stage(Record):
    """A part of an attempt's work. `done` counts what earlier attempts have done too, failed trials included."""

    name: str
    unit: Unit = ""
    done: int = 0
    total: int | None = Field(default=None, description="None where it is not counted")
    failed: int = 0


class Note(Record):
    """How far an attempt was when it was noted."""

    doing: str = Field(description="the stage that it is in")
    stages: list[Stage]
    errors: list[str] = Field(description="the first few, of trials that failed")
    left_s: float | None = Field(default=None, description="seconds that are left if it goes on like this")
    rows_per_s: float | None = Field(default=None, description="training rows a second, of a pretraining")
    disk_full: float | None = Field(default=None, description="share of the disk of Ray's files that is full, 0 … 1")
    every_s: float = Field(description="seconds until the next note")
    ended: str | None = Field(
        default=None, description="done, or the error that ended the attempt; None while it goes on"
    )


class Progress:
    """How far an attempt is now, as those say who do the work. Any thread may."""

    def __init__(self) -> None:
        self.news = threading.Event()  # a stage has begun: worth a note at once
        self._lock = threading.Lock()
        self._doing = "starting"
        self._stages: dict[str, Stage] = {}
        self._errors: list[str] = []
        self._left_s: float | None = None  # as it was told
        self._told = 0.0  # when, by the clock of `time.monotonic`
        self._rows_per_s: float | None = None

    def expect(self, name: str, unit: Unit = "", total: int | None = None) -> None:
        """There will be such a stage."""
        with self._lock:
            self._stages[name] = Stage(name=name, unit=unit, total=total)

    def begin(self, name: str, unit: Unit = "", total: int | None = None, done: int = 0) -> None:
        """Such a stage begins; `done` of it is done already. How long the whole takes is to be told anew."""
        with self._lock:
            self._stages[name] = Stage(name=name, unit=unit, total=total, done=done)
            self._doing, self._left_s, self._rows_per_s = name, None, None
        self.news.set()

    def tell(self, *, done: int, failed: int = 0, left_s: float | None = None, rows_per_s: float | None = None) -> None:
        """So much of the present stage is done; `left_s` is of the whole, in s."""
        with self._lock:
            stage = self._stages.get(self._doing)
            if stage is None:
                return
            self._stages[self._doing] = stage.model_copy(update={"done": done, "failed": failed})
            self._left_s, self._rows_per_s, self._told = left_s, rows_per_s, time.monotonic()

    def fail(self, what: str) -> None:
        """Something failed, which does not end the attempt. The first few are kept."""
        text = scrub(" ".join(what.split()))
        with self._lock:
            if len(self._errors) < MOST_ERRORS:
                self._errors.append(text[:LONGEST_ERROR] + "…" * (len(text) > LONGEST_ERROR))

    def note(self, every_s: float, disk_full: float | None = None, ended: str | None = None) -> Note:
        """The note of this moment."""
        with self._lock:
            known = self._left_s is not None and not ended
            left = max(0.0, (self._left_s or 0.0) - (time.monotonic() - self._told)) if known else None
            return Note(
                doing=self._doing,
                stages=list(self._stages.values()),
                errors=list(self._errors),
                left_s=left,
                rows_per_s=self._rows_per_s,
                disk_full=disk_full,
                every_s=every_s,
                ended=ended,
            )


class Notes:
    """Writes the notes of an attempt while it goes on, from a thread of its own, and one more when it ends.

    It never ends an attempt, nor keeps it waiting for long: what it cannot write is left out.

    Args:
        store: where.
        attempt: the attempt's folder.
        progress: how far it is.
        every: seconds between two notes, in the long run; the first ones come faster.
    """

    def __init__(self, store: Store, attempt: str, progress: Progress, every: float = EVERY) -> None:
        self.store, self.folder, self.progress, self.every = store, f"{attempt}/{FOLDER}", progress, every
        self._written = 0
        self._ended: str | None = None
        self._disk = DiskWatch()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._ended = (
            "done" if error is None else scrub(f"{type(error).__name__}: {error}".rstrip(": "))[:LONGEST_ERROR]
        )
        self.progress.news.set()
        self._thread.join(LAST_NOTE_S)

    def _run(self) -> None:
        pause = min(FIRST, self.every)
        while self._ended is None:
            self._write(pause, None)
            self.progress.news.wait(pause)
            self.progress.news.clear()
            pause = min(2 * pause, self.every)
        self._write(pause, self._ended)

    def _write(self, pause: float, ended: str | None) -> None:
        number = self._written + 1
        note = self.progress.note(pause, self._disk.look(), ended)
        try:
            self.store.create_json(f"{self.folder}/{number}.json", note.as_json())
            self._written = number
            if number > KEEP:
                self.store.delete([f"{self.folder}/{number - KEEP}.json"])
        except StoreError as error:
            log.debug("how far the attempt is could not be noted: %s", error)
