"""SIGTERM, by which queues, containers and spot machines end a program: here it ends a command as Ctrl-C does.

Whoever sends it kills what is still there some seconds later, so what there is to save is saved at once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REPEATED = 30.0  # seconds in which another SIGTERM is the same one: a queue may send it to a whole group, and to each
_since: float | None = None


def terminated() -> bool:
    """Whether this process has got a SIGTERM that ends its command: then an error is most likely what came of that."""
    return _since is not None


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM inside is a KeyboardInterrupt; `terminated` tells it from a Ctrl-C. Does nothing but in the main thread.

    It may come out as another error where a library handles it by its own lights, as Ctrl-C may.
    """
    global _since
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _since = None


@contextmanager
def kept_from_others() -> Iterator[None]:
    """Whoever takes SIGTERM over inside (as Ray does, to exit at its own time) has it no longer after.

    Nothing is done where it was not ours.
    """
    if signal.getsignal(signal.SIGTERM) is not _interrupt or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        yield
    except SystemExit as error:  # what those make of one that comes meanwhile
        _note()
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    if _since is None or time.monotonic() - _since > REPEATED:
        _note()
        raise KeyboardInterrupt


def _note() -> None:
    global _since
    _since = time.monotonic()
