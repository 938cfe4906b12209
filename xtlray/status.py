"""What the runs in a store are doing, from the store alone: a run may be driven anywhere.

An attempt that goes on leaves a note every few seconds (`progress.py`). One without an end whose notes have stopped is
not called dead, for that cannot be known from here: it has given no sign of life since.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Literal, TypeVar

import yaml

from xtlray.clock import now_of
from xtlray.errors import MissingKeyError, StoreError, StoreGoneError, unknown
from xtlray.names import PART
from xtlray.progress import FIRST, FOLDER, MOST_ERRORS, Note, Stage
from xtlray.store import Listed, Store

log = logging.getLogger("xtlray.status")
State = Literal["running", "silent", "stopped", "done", "failed", "waiting"]
STATES: dict[State, str] = {
    "running": "an attempt is at work",
    "silent": "no attempt is known to be at work: the newest has given no sign of life for a while, and no end",
    "stopped": "the newest attempt has ended before the run was done, and no earlier one is at work",
    "done": "it has all its results",
    "failed": "it has ended, and some of what was asked for could not be made",
    "waiting": "its job is there, and no attempt has begun",
}
NOTES_MISSED, LEEWAY_S = 3, 10.0  # notes that may fail to come before an attempt is silent
LOOKED_AT = 4  # attempts of a run: an earlier one may still be at work when a later one has ended
FINISHED = 5  # runs that have ended, in an overview
_AT_ONCE = 16  # runs that are looked at

Clock = Callable[[], datetime]
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class RunStatus:
    """What a run is doing.

    Attributes:
        run: its id.
        state: see `STATES`.
        attempt: number of the newest one that is at work, else of the newest; None where there is none.
        last_sign: when the attempt last wrote (UTC, ISO 8601, by the store's clock), or the run ended.
        silent_s: seconds since then; None of a run that has ended.
        doing: the stage that this attempt is, or was, in.
        done, total, unit: how far that stage is.
        failed: trials that failed, in all stages.
        left_s: seconds that are left, if it goes on like this, of a pipeline's pretraining those of the pretraining
            alone; None where it does not go on, or that is not known.
        ended: what ended this attempt.
        errors: the first few of what failed.
        stages: all of them.
        details: of one run: kind, hardware, resources and what else is kept with the attempt; models.
    """

    run: str
    state: State
    attempt: int | None = None
    last_sign: str | None = None
    silent_s: float | None = None
    doing: str | None = None
    done: int | None = None
    total: int | None = None
    unit: str | None = None
    failed: int = 0
    left_s: float | None = None
    rows_per_s: float | None = None
    disk_full: float | None = None
    ended: str | None = None
    errors: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Flat: the details beside the rest."""
        own = {name: value for name, value in vars(self).items() if name != "details"}
        stages = [stage.model_dump(exclude={"schema_version"}) for stage in self.stages]
        return {**own, "stages": stages, **self.details}


def status_of(store: Store, run: str) -> RunStatus:
    """What one run is doing, with all that is kept of its newest attempt.

    Raises:
        UnknownNameError: there is no such run; it names the nearest.
    """
    if not re.fullmatch(PART, run) or not store.exists(f"runs/{run}/job.yaml"):
        raise unknown("run", run, store.children("runs"), fix="xtlray status shows those that are not done")
    outcome = store.entry(_outcome_key(run))
    return _status(store, run, outcome, _clock(store), detailed=True)


def overview(store: Store, finished: int = FINISHED) -> list[RunStatus]:
    """All runs that are not done, the one that wrote last first; then the last `finished` ones that are."""
    runs = store.children("runs")
    outcomes = dict(zip(runs, _map(lambda run: store.entry(_outcome_key(run)), runs), strict=True))
    newest = sorted((run for run in runs if outcomes[run]), key=lambda run: _when(outcomes[run]), reverse=True)
    clock = _clock(store)
    unfinished = _map(lambda run: _status(store, run, None, clock), [run for run in runs if not outcomes[run]])
    ended = _map(lambda run: _status(store, run, outcomes[run], clock), newest[:finished])
    return sorted(unfinished, key=lambda each: each.last_sign or "", reverse=True) + ended


def _status(store: Store, run: str, outcome: Listed | None, clock: Clock, detailed: bool = False) -> RunStatus:
    if outcome is not None:
        return _ended(store, run, outcome, detailed)
    seen = _attempt(store, run, clock)
    details = _details(store, run, seen.number if seen else None) if detailed else {}
    if seen is None:
        return RunStatus(run, "waiting", details=details)
    about = partial(
        RunStatus, run, seen.state, seen.number, last_sign=_said(seen.sign), silent_s=seen.silent_s, details=details
    )
    if seen.note is None:
        return about()
    goes_on = seen.state == "running" and seen.note.left_s is not None
    left = max(0.0, (seen.note.left_s or 0.0) - seen.silent_s) if goes_on else None
    return about(**_of(seen.note, _records(store, run, seen.note)), left_s=left)


@dataclass(frozen=True)
class _Seen:
    """An attempt as its newest note has it; `sign` is that note, or its beginning where there is none."""

    number: int
    sign: Listed
    note: Note | None
    silent_s: float

    @property
    def state(self) -> State:
        if self.note and self.note.ended not in (None, "done"):  # done: its outcome is about to be written
            return "stopped"
        every = self.note.every_s if self.note else FIRST
        return "running" if self.silent_s <= NOTES_MISSED * every + LEEWAY_S else "silent"


def _attempt(store: Store, run: str, clock: Clock) -> _Seen | None:
    """The newest attempt that is at work, for there may be several at once; else the newest. None where none is."""
    newest: _Seen | None = None
    for number in reversed(store.numbers(f"runs/{run}/attempts")[-LOOKED_AT:]):
        folder = f"runs/{run}/attempts/{number}"
        noted, note = _newest_note(store, folder)
        sign = noted or store.entry(f"{folder}/environment.json")
        if sign is None:  # a driver that was killed while it claimed its number leaves a folder, on a local disk
            continue
        seen = _Seen(number, sign, note, max(0.0, (clock() - sign.modified).total_seconds()))
        if seen.state == "running":
            return seen
        newest = newest or seen
    return newest


def _ended(store: Store, run: str, outcome: Listed, detailed: bool) -> RunStatus:
    value = store.get_json(outcome.key)
    number = value["attempt"]
    details = _details(store, run, number) if detailed else {}
    _, note = _newest_note(store, f"runs/{run}/attempts/{number}")
    return RunStatus(
        run,
        "done" if value["status"] == "done" else "failed",
        attempt=number,
        last_sign=_said(outcome),
        failed=_failed(note) if note else 0,
        errors=[str(note) for note in value["notes"][:MOST_ERRORS]],
        stages=note.stages if note else [],
        details={**details, "models": value["models"], "seconds": value["seconds"]} if details else {},
    )


def _records(store: Store, run: str, note: Note) -> int:
    """How many trials have left their record; it is asked for only in a sweep."""
    at = next((stage for stage in note.stages if stage.name == note.doing), None)
    return len(store.children(f"runs/{run}/trials")) if at and at.unit == "trials" else 0


def _of(note: Note, records: int) -> dict[str, Any]:
    """What a note says, in the words of a status; of a sweep, with the records that have come since."""
    others = sum(stage.done for stage in note.stages if stage.unit == "trials" and stage.name != note.doing)
    stages = [
        stage.model_copy(update={"done": max(stage.done, min(records - others, stage.total or 0))})
        if stage.name == note.doing
        else stage
        for stage in note.stages
    ]
    stage = next((stage for stage in stages if stage.name == note.doing), Stage(name=note.doing))
    return {
        "doing": note.doing,
        "done": stage.done if stage.unit else None,
        "total": stage.total,
        "unit": stage.unit or None,
        "failed": _failed(note),
        "rows_per_s": note.rows_per_s,
        "disk_full": note.disk_full,
        "ended": note.ended,
        "errors": note.errors,
        "stages": stages,
    }


def _failed(note: Note) -> int:
    return sum(stage.failed for stage in note.stages)


def _newest_note(store: Store, attempt: str) -> tuple[Listed | None, Note | None]:
    """The newest note of an attempt that can be read: while we look, older ones are deleted."""
    items = [item for item in store.listing(f"{attempt}/{FOLDER}") if _number(item) is not None]
    for item in sorted(items, key=lambda item: _number(item) or 0, reverse=True):
        try:
            return item, Note.read(store.get_json(item.key), item.key)
        except MissingKeyError:
            continue
        except StoreGoneError:
            raise
        except StoreError as error:  # of a run that may be long over: it must not keep the others from being told of
            log.warning("a note is passed over: %s", error)
    return None, None


def _number(item: Listed) -> int | None:
    text = item.key.rsplit("/", 1)[-1].removesuffix(".json")
    return int(text) if text.isdecimal() else None


def _details(store: Store, run: str, attempt: int | None) -> dict[str, Any]:
    """What is kept with a run and that attempt of it."""
    job = yaml.safe_load(store.get(f"runs/{run}/job.yaml"))
    found = {"kind": job.get("kind") if isinstance(job, dict) else None}
    if attempt is not None:
        environment = store.get_json(f"runs/{run}/attempts/{attempt}/environment.json")
        found |= {key: environment.get(key) for key in ("started", "hardware", "commit", "resources")}
    return found


def _outcome_key(run: str) -> str:
    return f"runs/{run}/outcome.json"


def _when(item: Listed | None) -> datetime:
    return item.modified if item else datetime.min.replace(tzinfo=UTC)


def _said(item: Listed | None) -> str | None:
    return item.modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if item else None


def _clock(store: Store) -> Clock:
    """The present time by the store's clock, asked for once, and only where some age is to be told."""
    return cache(partial(now_of, store))


def _map(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Many at a time, as an object store answers slowly."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, items))
