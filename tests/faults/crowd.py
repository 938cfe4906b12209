"""Processes that say a line for each thing that they have done: begun together, some of them killed, none left behind.

Each prints `ready` when it could begin, and waits for a line on its stdin until it does.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from tests.faults.harness import wait_for


class Crowd:
    """Several of `python -m MODULE ARGUMENTS…`, as a context that ends with all of them.

    Args:
        commands: module and arguments of each.
    """

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._said: list[list[str]] = [[] for _ in commands]
        self._processes: list[Any] = [
            subprocess.Popen([sys.executable, "-m", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for words in commands
        ]
        self._readers = [threading.Thread(target=self._read, args=(k,), daemon=True) for k in range(len(commands))]
        for reader in self._readers:
            reader.start()

    def _read(self, k: int) -> None:
        self._said[k].extend(line.strip() for line in self._processes[k].stdout)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def done(self) -> list[list[str]]:
        """What each has done so far, a line for each thing."""
        return [lines[1:] for lines in self._said]

    @property
    def codes(self) -> list[int | None]:
        """The exit code of each, -9 of those that were killed."""
        return [process.poll() for process in self._processes]

    def begin(self, seconds: float) -> None:
        """Let all begin at once, when all are ready."""
        wait_for(lambda: all(lines == ["ready"] for lines in self._said), "the processes", seconds)
        for process in self._processes:
            process.stdin.write("go\n")
            process.stdin.flush()

    def kill(self, k: int, after: int, seconds: float) -> None:
        """SIGKILL to one, wherever it is just then, when it has done so many things."""
        process = self._processes[k]
        wait_for(lambda: len(self.done[k]) >= after or process.poll() is not None, f"{after} of process {k}", seconds)
        process.kill()

    def join(self, seconds: float) -> None:
        """Wait for the end of each."""
        for reader, process in zip(self._readers, self._processes, strict=True):
            reader.join(seconds)
            process.wait(10)
