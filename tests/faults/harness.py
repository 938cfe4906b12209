"""A real `xtlray` in processes of its own, to be killed: started, watched through its store, always cleaned up.

Every process that comes from a program started here, Ray's included, carries a tag in its environment; by it they
are found, orphans too, and only they are ever killed. Needs Linux' /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtlray.store import Store

TAG = "XTLRAY_TESTS_TAG"
PATIENCE = 100.0  # seconds for anything that should come: a start of Ray on a busy machine takes 30


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Poll until `condition` is truthy and return what it gave. Fails, saying what it waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it. Ray names its workers after what they run, such as `ray::RayTrainWorker`."""

    pid: int
    name: str

    @property
    def folder(self) -> str:
        """The name of its working directory; a Tune actor's is that of its trial. Empty for a process that is gone."""
        try:
            return Path(os.readlink(f"/proc/{self.pid}/cwd")).name
        except OSError:
            return ""


def tagged(tag: str) -> list[Process]:
    """All living processes with that tag."""
    mark = f"{TAG}={tag}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdecimal() or mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue  # dead, and not yet fetched by its parent
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended, or is not ours to read
            continue
        found.append(Process(int(folder.name), name))
    return found


class Program:
    """One `xtlray …` in a session and process group of its own, as a terminal would start it."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.tag = uuid.uuid4().hex
        self.out, self.err = folder / f"{self.tag}.out", folder / f"{self.tag}.err"
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {
            TAG: self.tag,
            "OMP_NUM_THREADS": "1",
            "SPT_NOENV": "1",  # Ray's processes rename themselves; without it they write over their environment
        }
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

        def none_left() -> bool:
            left = self.processes()
            for process in left:
                kill(process)
            return not left

        wait_for(none_left, "the end of killed processes", 30)

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


def kill(process: Process) -> None:
    """SIGKILL; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)


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


def records_of(store: Store) -> dict[str, bytes]:
    """The trial records of the only run, by trial id."""
    folder = f"{only_run(store)}/trials"
    return {name.removesuffix(".json"): store.get(f"{folder}/{name}") for name in store.children(folder)}
