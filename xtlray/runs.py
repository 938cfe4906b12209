"""Runs and their attempts in the store: what a run is called, where its files lie, what is already done.

A run is a job with everything that decides its result; its id is a hash of that. Attempts are the times that it was
started. Whatever a run has finished is found again by the next attempt.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from xtlray.progress import Progress
from xtlray.store import Store, canonical_json

log = logging.getLogger("xtlray.runs")


@dataclass(frozen=True)
class Run:
    """A run of a job.

    Attributes:
        id: `<job name>-<8 hex digits>`, with `-2`, `-3` … where it was asked for again.
        identity: the resolved job without resources, data and source hashes included.
    """

    id: str
    identity: dict[str, Any]

    @property
    def folder(self) -> str:
        return f"runs/{self.id}"

    def outcome(self, store: Store) -> dict[str, Any] | None:
        """What came out, if the run is complete."""
        key = f"{self.folder}/outcome.json"
        return store.get_json(key) if store.exists(key) else None


def run_id(name: str, identity: dict[str, Any]) -> str:
    """The id of a job's first run: equal jobs on equal data have equal ids."""
    return f"{name}-{hashlib.sha256(canonical_json(identity)).hexdigest()[:8]}"


def open_run(store: Store, name: str, identity: dict[str, Any], again: bool = False) -> Run:
    """The newest run of this job, or with `again` a new one beside it. Its `job.yaml` is written if it is new."""
    base = run_id(name, identity)
    latest = _latest(store, base)
    number = latest + 1 if again and latest else max(latest, 1)
    while True:
        run = Run(base if number == 1 else f"{base}-{number}", identity)
        created = store.create(f"{run.folder}/job.yaml", yaml.safe_dump(identity, sort_keys=False).encode())
        if created or not again:
            return run
        number += 1


def newest_run(store: Store, name: str, identity: dict[str, Any]) -> Run | None:
    """The newest run of this job; None where it was never begun."""
    base = run_id(name, identity)
    latest = _latest(store, base)
    return Run(base if latest == 1 else f"{base}-{latest}", identity) if latest else None


def _latest(store: Store, base: str) -> int:
    number = 0
    while store.exists(f"runs/{base if number == 0 else f'{base}-{number + 1}'}/job.yaml"):
        number += 1
    return number


def left_behind(store: Store, run: Run, name: str) -> dict[str, list[str]]:
    """Unfinished runs of this very job on other data: run id → the datasets that have changed since it began.

    Args:
        store: where runs lie.
        run: the job's run on the data of today.
        name: of the job.
    """
    found = {}
    for other in store.children("runs"):
        if other == run.id or not re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{8}}(-\d+)?", other):
            continue
        job = f"runs/{other}/job.yaml"
        if Run(other, {}).outcome(store) is not None or not store.exists(job):
            continue
        before, today = yaml.safe_load(store.get(job)), dict(run.identity)
        old, new = before.pop("data", {}), today.pop("data", {})
        if before == today and old != new:
            found[other] = sorted(each for each in {*old, *new} if old.get(each) != new.get(each))
    return found


@dataclass(frozen=True)
class Attempt:
    """One start of a run. `number` was claimed by create-once; `progress` is told how far it is."""

    run: Run
    number: int
    progress: Progress = field(default_factory=Progress, compare=False, repr=False)

    @property
    def folder(self) -> str:
        return f"{self.run.folder}/attempts/{self.number}"


def new_attempt(store: Store, run: Run, environment: dict[str, Any]) -> Attempt:
    """Claim the next attempt; says so where the earlier one had another commit or other library versions."""
    attempts = f"{run.folder}/attempts"
    # A driver that was killed while it claimed its number leaves a folder without the file, on a local disk.
    numbers = [n for n in store.numbers(attempts) if store.exists(f"{attempts}/{n}/environment.json")]
    if numbers:
        before = store.get_json(f"{attempts}/{numbers[-1]}/environment.json")
        differs = [key for key in ("commit", "versions") if before.get(key) != environment.get(key)]
        if differs:
            log.warning(
                "attempt %d of %s ran under another %s: results of both go into one run",
                numbers[-1],
                run.id,
                " and other ".join("library versions" if key == "versions" else key for key in differs),
            )
    number = store.claim(attempts, "{n}/environment.json", environment)
    return Attempt(run, number)


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
