"""From a job file to a finished run: read, resolve, find or start the run, execute, note down the outcome."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from xtlray import provenance
from xtlray.errors import RequestError, StoreError, WorkError
from xtlray.kinds import KINDS, get_kind
from xtlray.kinds.kind import Context, Resolved, Say
from xtlray.names import PART
from xtlray.progress import Notes
from xtlray.ray_session import RaySession
from xtlray.runs import Attempt, Run, left_behind, new_attempt, now, open_run
from xtlray.scrub import scrub
from xtlray.store import Store

log = logging.getLogger("xtlray")


@dataclass(frozen=True)
class Finished:
    """What `xtlray run` answers."""

    run: str
    status: str
    attempt: int | None
    models: list[str]
    seconds: float
    notes: list[str]
    extra: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        base = {"run": self.run, "status": self.status, "attempt": self.attempt, "models": self.models}
        return {**base, "seconds": round(self.seconds, 1), **self.extra}


def read_job(path: str | Path) -> dict[str, Any]:
    """The mapping in a job file. Raises `RequestError` where it is missing or is no YAML mapping."""
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        jobs = sorted(str(p) for p in Path("jobs").glob("*.yaml"))
        raise RequestError(
            "The job file cannot be read", got=f"{path}: {error}", allowed=", ".join(jobs) or "a YAML file"
        ) from error
    except yaml.YAMLError as error:
        raise RequestError("The job file is not YAML", got=f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise RequestError("A job file is a mapping of keys", got=f"{path}: {type(value).__name__}", fix="see jobs/")
    return value


def override(job: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The job with `a.b=VALUE` applied, VALUE being YAML. Raises `RequestError` where one is malformed."""
    try:
        changed: dict[str, Any] = _copy(job)
    except RecursionError as error:
        raise RequestError("The job file holds itself", fix="take out the YAML anchor that refers to itself") from error
    for text in assignments:
        path, equals, raw = text.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise RequestError("--set takes KEY=VALUE", got=repr(text), fix="write --set pretrain.epochs=2")
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise RequestError("The value of --set is not YAML", got=repr(text), fix="quote it") from error
        place = changed
        for key in keys[:-1]:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise RequestError(f"--set {path}: {key} is not a section", got=f"{key}: {inner!r}")
            place = inner
        place[keys[-1]] = value
    return changed


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def resolve_job(store: Store, job: Mapping[str, Any], where: str, announce: Say) -> Resolved:
    """Check a job and look up what it names. Raises `RequestError` for anything that it may not say."""
    missing = [key for key in ("kind", "name") if not job.get(key)]
    if missing:
        raise RequestError(
            f"{where}: the key {missing[0]!r} is missing",
            allowed=f"kinds are {', '.join(KINDS)}" if missing[0] == "kind" else "a short name for the run",
            fix=f"add {missing[0]}: …",
        )
    kind, name = get_kind(str(job["kind"])), str(job["name"])
    if not re.fullmatch(PART, name):
        raise RequestError(f"{where}: name cannot be that", got=repr(name), allowed=f"letters and digits: {PART}")
    settings = kind.settings.parse({k: v for k, v in job.items() if k not in ("kind", "name")}, where)
    return kind.resolve(store, name, settings, announce)


def run_job(store: Store, job: Resolved, again: bool, say: Say) -> Finished:
    """Run a resolved job, resume it, or report that it is done.

    Args:
        store: where everything lies.
        job: the job.
        again: start a new run even if there is one.
        say: told of progress.
    """
    kind = get_kind(job.kind)
    run = open_run(store, job.name, job.identity, again or kind.always_new)
    before = run.outcome(store)
    if before:
        _wind_up(store, run)  # what a driver that was killed right after its outcome has left undone
        ended = "is done" if before["status"] == "done" else "has failed"
        say(f"{run.id} {ended} already (run it anew with --again)")
        return _finished(run, before)
    if not store.numbers(f"{run.folder}/attempts"):
        for other, datasets in left_behind(store, run, job.name).items():
            changed = " and ".join(datasets)
            say(f"{changed} changed since {other} began: that run stays unfinished, {run.id} starts anew")
    environment = {**provenance.environment(), "started": now(), "resources": _resources(job)}
    attempt = new_attempt(store, run, environment)
    say(f"{run.id}, attempt {attempt.number}")
    if os.environ.get("RAY_ADDRESS") and store.local_path:
        log.warning("RAY_ADDRESS names a cluster: all of its nodes must mount the store's folder %s", store.local_path)
    started = time.perf_counter()
    try:
        notes, keep = Notes(store, attempt.folder, attempt.progress), partial(_keep_logs, store, attempt)
        with _KeptLog(store, attempt), notes, RaySession(run.id, keep) as session:
            outcome = kind.execute(Context(store, attempt, session, say), job)
    except WorkError:
        # Another driver of this run may have finished it, and cleared away what this one was still reading.
        with suppress(StoreError):  # which must not hide what ended the attempt
            before = run.outcome(store)
        if before is None:
            raise
        say(f"{run.id} was finished meanwhile by attempt {before['attempt']}")
        return _finished(run, before)
    value = {
        "status": "failed" if outcome.failed else "done",
        "attempt": attempt.number,
        "models": outcome.models,
        "notes": outcome.notes,
        "extra": outcome.extra,
        "seconds": time.perf_counter() - started,
    }
    store.create_json(f"{run.folder}/outcome.json", value)
    _wind_up(store, run)
    return _finished(run, run.outcome(store) or value)  # another driver's, if it was faster


def _wind_up(store: Store, run: Run) -> None:
    """What comes after the outcome, by whoever gets to it: nothing of it is lost where nobody does."""
    from xtlray.leaderboard.board import fold_run

    fold_run(store, run.id)
    prune(store, run)


def prune(store: Store, run: Run) -> None:
    """Delete what a complete run does not need any more: checkpoints, and members of trials."""
    scratch = store.list(f"{run.folder}/members")
    for n in store.numbers(f"{run.folder}/attempts"):
        keys = store.list(f"{run.folder}/attempts/{n}/checkpoints")
        scratch += sorted(keys, key=lambda key: not key.endswith("state.json"))
    store.delete(scratch)


def _finished(run: Run, value: Mapping[str, Any]) -> Finished:
    return Finished(
        run.id, value["status"], value["attempt"], value["models"], value["seconds"], value["notes"], value["extra"]
    )


def _resources(job: Resolved) -> dict[str, Any]:
    full, identity = job.settings.model_dump(mode="json"), job.settings.identity()
    return {"settings": _difference(full, identity), "cores": provenance.cores()}


def _difference(full: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in full.items():
        if key not in part:
            found[key] = value
        elif isinstance(value, dict) and isinstance(part[key], dict):
            inner = _difference(value, part[key])
            found.update({key: inner} if inner else {})
    return found


def _keep_logs(store: Store, attempt: Attempt, logs: Mapping[str, bytes]) -> None:
    """Keep the ends of Ray's logs beside the attempt's own."""
    for name, text in logs.items():
        store.create(f"{attempt.folder}/logs/{name}", text)
    log.info("the ends of Ray's logs are in %s", store.url_of(f"{attempt.folder}/logs"))


class _KeptLog(logging.Handler):
    """Keeps the log of an attempt beside it in the store, however it ends."""

    def __init__(self, store: Store, attempt: Attempt) -> None:
        super().__init__(logging.DEBUG)
        self.store, self.key = store, f"{attempt.folder}/log.txt"
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{now()} {record.levelname} {record.getMessage()}")

    def __enter__(self) -> _KeptLog:
        log.addHandler(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        log.removeHandler(self)
        if error is not None:
            self.lines.append(f"{now()} ended by {type(error).__name__}: {error}")
        try:
            self.store.create(self.key, scrub("\n".join(self.lines) + "\n").encode())
        except StoreError as lost:  # must not hide what ended the attempt
            log.warning("the attempt's log could not be kept: %s", lost)
