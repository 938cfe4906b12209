"""A store in memory whose calls are made one at a time, by whichever thread a seeded dice chooses.

So any interleaving of many writers can come up, a thread can end between any two calls as a killed process does, and a
seed that shows a fault shows it again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from xtlray.errors import MissingKeyError
from xtlray.store import Store


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Memory(Store):
    """A store in memory. Each call waits for its turn where it is made by an actor of `Stage`."""

    def __init__(self) -> None:
        self.url, self.read_only = "memory://", False
        self.files: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.stage: Stage | None = None

    def _turn(self, verb: str, key: str) -> None:
        if self.stage is not None:
            self.stage.wait_for_turn()
        self.calls.append((verb, key))

    def get(self, key: str) -> bytes:
        self._turn("get", key)
        if key not in self.files:
            raise MissingKeyError("Nothing lies in the store under that key", got=key)
        return self.files[key]

    def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        found = []
        for key in keys:
            self._turn("get", key)
            found.append(self.files.get(key))
        return found

    def exists(self, key: str) -> bool:
        self._turn("exists", key)
        return key in self.files

    def list(self, prefix: str, after: str | None = None) -> list[str]:
        self._turn("list", prefix)
        return sorted(key for key in self.files if key.startswith(f"{prefix}/") and (after is None or key > after))

    def create(self, key: str, data: bytes, *, unique: bool = False) -> bool:
        self._turn("create", key)
        return self.files.setdefault(key, data) is data

    def delete(self, keys: Any) -> None:
        for key in keys:
            self._turn("delete", key)
            self.files.pop(key, None)


class Stage:
    """Lets actors act, one call to the store at a time.

    Args:
        store: that they share.
        seed: of the dice.
        kill: how likely an actor ends instead of making its next call.
    """

    def __init__(self, store: Memory, seed: int, kill: float = 0.0) -> None:
        self.store, self.dice, self.kill = store, random.Random(seed), kill
        self.now = 0  # calls that were made
        self._turns: dict[threading.Thread, threading.Semaphore] = {}
        self._paused = threading.Semaphore(0)
        self._doomed: set[threading.Thread] = set()
        self._over: set[threading.Thread] = set()
        self._failures: list[BaseException] = []

    def wait_for_turn(self) -> None:
        """Called before each call to the store. The helper threads of an actor act in its turn."""
        me = threading.current_thread()
        if me not in self._turns:
            return
        self._paused.release()
        self._turns[me].acquire()
        if me in self._doomed:
            raise Killed

    def play(self, mortal: Sequence[Callable[[], None]], immortal: Sequence[Callable[[], None]] = ()) -> None:
        """Let all actors act to their end, or to that of the mortal ones. Raises what one of them raised."""
        threads = [threading.Thread(target=self._act, args=(actor,), daemon=True) for actor in (*mortal, *immortal)]
        self._turns = {thread: threading.Semaphore(0) for thread in threads}
        self.store.stage = self
        for thread in threads:
            thread.start()
            self._paused.acquire()
        alive = list(threads)
        while alive:
            chosen = self.dice.choice(alive)
            if threads.index(chosen) < len(mortal) and self.dice.random() < self.kill:
                self._doomed.add(chosen)
            self.now += 1
            self._turns[chosen].release()
            self._paused.acquire()
            alive = [thread for thread in alive if thread not in self._over]
        self.store.stage = None
        if self._failures:
            raise self._failures[0]

    def _act(self, actor: Callable[[], None]) -> None:
        try:
            self.wait_for_turn()
            actor()
        except Killed:
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            self._over.add(threading.current_thread())
            self._paused.release()
