"""What a kind of job is: its settings, how it is resolved against the store, what it would do, and how it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xtlray.runs import Attempt
from xtlray.settings import Settings
from xtlray.store import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class Resolved:
    """A job that knows what its names mean.

    Attributes:
        kind: name of its kind.
        name: of the job.
        settings: checked, defaults filled in.
        identity: all that decides the result, as JSON: the run id is its hash, `job.yaml` its text.
        inputs: what was found in the store: data hashes, sources.
    """

    kind: str
    name: str
    settings: Any
    identity: dict[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `failed` means that some of what was asked for does not exist."""

    failed: bool = False
    models: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Where a run works, how it gets Ray, and whom it tells."""

    store: Store
    attempt: Attempt
    session: Any
    say: Say


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        name: as in job files.
        summary: one line.
        settings: the model of its keys.
        resolve: store, job name, settings, and how to announce what open names were taken to mean → the resolved job.
        plan: what it would do: label → value, for `--dry-run`.
        execute: do it.
        always_new: each call is a run of its own (benches).
    """

    name: str
    summary: str
    settings: type[Settings]
    resolve: Callable[[Store, str, Any, Say], Resolved]
    plan: Callable[[Store, Resolved], dict[str, Any]]
    execute: Callable[[Context, Resolved], Outcome]
    always_new: bool = False
