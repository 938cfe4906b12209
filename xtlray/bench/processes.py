"""Processes of our own that are to be killed, and all that comes from them: found by a tag in their environment.

Only what carries the tag is ever killed, orphans too. Needs Linux' /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtlray.errors import WorkError

TAG = "XTLRAY_PROCESS_TAG"
PATIENCE = 100.0  # seconds for anything that should come: a start of Ray on a busy machine takes 30
TRIAL_AT_WORK = "TrialActor.train"  # part of what Ray calls the process of a trial that is running


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


def tagged_environment(tag: str) -> dict[str, str]:
    """What a process is started with, so that it and all that it starts can be found by `tag`.

    It keeps the tags of this process, by which whoever started this one finds them all.
    """
    return {
        TAG: ":".join(filter(None, (os.environ.get(TAG), tag))),
        "SPT_NOENV": "1",  # Ray's processes rename themselves; without it they write over their environment
    }


def tagged(tag: str) -> list[Process]:
    """All living processes with that tag."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdecimal() or not _has(tag, (folder / "environ").read_bytes()):
                continue
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue  # dead, and not yet fetched by its parent
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended, or is not ours to read
            continue
        found.append(Process(int(folder.name), name))
    return found


def _has(tag: str, environment: bytes) -> bool:
    start = f"{TAG}=".encode()
    values = (each[len(start) :] for each in environment.split(b"\0") if each.startswith(start))
    return any(tag.encode() in value.split(b":") for value in values)


def send(process: Process, number: int = signal.SIGKILL) -> None:
    """Send a signal; to one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def kill_tagged(tag: str) -> None:
    """SIGKILL to every process with that tag; again to those that were just being born."""

    def none_left() -> bool:
        left = tagged(tag)
        for process in left:
            send(process)
        return not left

    wait_for(none_left, "the end of killed processes", 30)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Poll until `condition` is truthy and return what it gave.

    Raises:
        WorkError: it did not become so in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise WorkError(f"Waited {seconds:.0f} s in vain for {what}")
