"""What a benchmark is: its settings, and the function that measures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xtlray.settings import Settings
from xtlray.store import Store

SCRATCH = "scratch"  # what a benchmark writes to measure it, in its attempt's folder


@dataclass(frozen=True)
class Place:
    """Where a benchmark works.

    Attributes:
        store: where the datasets lie.
        folder: the attempt's folder in it.
        session: a context manager within which Ray is up.
        say: told of progress.
    """

    store: Store
    folder: str
    session: Callable[[], Any]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """A benchmark.

    Attributes:
        settings: the model of its job's keys; it has `bench`, `dataset` and `repeats`.
        measure: place and settings → the figures, as JSON.
    """

    settings: type[Settings]
    measure: Callable[[Place, Any], dict[str, Any]]


def clear(place: Place) -> None:
    """Delete what was written to measure it."""
    if place.store.local_path:  # at once, and the empty folders as well
        shutil.rmtree(place.store.local_path / place.folder / SCRATCH, ignore_errors=True)
    place.store.delete(place.store.list(f"{place.folder}/{SCRATCH}"))
