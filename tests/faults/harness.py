"""A real `xtlray` in processes of its own, to be killed: started, watched through its store, always cleaned up.

Every process that comes from a program started here, Ray's included, carries a tag in its environment; by it they
are found, orphans too, and only they are ever killed. See `xtlray.bench.processes`; nodes are made by
`xtlray.bench.local_cluster`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xtlray.bench.processes import PATIENCE, TAG, Process, kill_tagged, tagged, tagged_environment, wait_for
from xtlray.bench.processes import send as kill
from xtlray.store import Store

__all__ = [
    "PATIENCE",
    "TAG",
    "Process",
    "Program",
    "kill",
    "only_run",
    "records_of",
    "steps_of",
    "tagged",
    "wait_for",
    "within_an_epoch",
]


class Program:
    """One `xtlray …` in a session and process group of its own, as a terminal would start it.

    Args:
        arguments: of the command.
        folder: where what it prints is kept.
        cluster: what it needs in its environment to join one; by default it starts a Ray of its own.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, cluster: Mapping[str, str] | None = None) -> None:
        self.tag = uuid.uuid4().hex
        self.out, self.err = folder / f"{self.tag}.out", folder / f"{self.tag}.err"
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {"OMP_NUM_THREADS": "1", **tagged_environment(self.tag), **(cluster or {})}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "xtlray.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
            )

    def processes(self, part: str = "") -> list[Process]:
        """Its living processes whose name has that part."""
        return [process for process in tagged(self.tag) if part in process.name]

    def kill_driver(self) -> None:
        """SIGKILL to the driver alone: what it started must see to itself."""
        self.popen.kill()
        self.popen.wait()

    def kill_all(self) -> None:
        """SIGKILL to every process at once, the driver first; again to those that were just being born."""
        self.kill_driver()
        kill_tagged(self.tag)

    def terminate(self) -> None:
        """SIGTERM to the driver alone, as a queue sends it to what it has started."""
        self.popen.terminate()

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the process group, as a terminal sends it."""
        os.killpg(self.popen.pid, signal.SIGINT)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not done after {seconds:.0f} s:\n{self.said}") from None

    def done(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for exit code 0; what it answered with `--json`."""
        code = self.wait(seconds)
        assert code == 0, self.said
        answer: dict[str, Any] = json.loads(self.out.read_text())
        return answer

    @property
    def said(self) -> str:
        """What it printed on stderr."""
        return self.err.read_text()


# --- what lies in the store ------------------------------------------------------------------------------------------


def only_run(store: Store) -> str:
    """The folder of the only run in the store; empty while there is none."""
    runs = store.children("runs")
    assert len(runs) <= 1, runs
    return f"runs/{runs[0]}" if runs else ""


def steps_of(store: Store, attempt: int) -> list[int]:
    """Steps of the complete checkpoints of an attempt of the only run, ascending."""
    folder = f"{only_run(store)}/attempts/{attempt}/checkpoints"
    steps = store.children(folder)
    return sorted(int(step) for step in steps if store.exists(f"{folder}/{step}/state.json"))


def within_an_epoch(store: Store, attempt: int) -> dict[str, Any] | None:
    """Where training stood at the newest checkpoint of an attempt of the only run, if it was in an epoch's middle."""
    steps = steps_of(store, attempt)
    if not steps:
        return None
    state: dict[str, Any] = store.get_json(
        f"{only_run(store)}/attempts/{attempt}/checkpoints/{steps[-1]:09d}/state.json"
    )["loop"]
    return state if state["row"] else None


def records_of(store: Store) -> dict[str, bytes]:
    """The trial records of the only run, by trial id."""
    folder = f"{only_run(store)}/trials"
    return {name.removesuffix(".json"): store.get(f"{folder}/{name}") for name in store.children(folder)}
