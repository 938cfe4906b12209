"""What a benchmark is: its settings, and the function that measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xtlray.settings import Settings
from xtlray.store import Store


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
        settings: the model of its job's keys; it has `bench` and `dataset`.
        measure: place and settings → the figures, as JSON.
    """

    settings: type[Settings]
    measure: Callable[[Place, Any], dict[str, Any]]
