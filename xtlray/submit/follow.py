"""A job's log as it grows, until the job ends; what was shown is not shown again when the connection was lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from xtlray.errors import WorkError
from xtlray.scrub import scrub
from xtlray.submit.jobs import Job, Jobs

if TYPE_CHECKING:
    from xtlray.submit.client import Client

log = logging.getLogger("xtlray.submit")
PATIENCE = 120.0  # seconds without a word of the cluster after which it is not waited for any longer
SHORTEST, LONGEST = 0.5, 10.0  # seconds between two tries
_SAID_AFTER = 2.0
_STOOD = 60.0  # seconds after which a connection has stood, though the log was silent


class _Shown:
    """What was written so far. A log is sent from its beginning each time, so that so many characters are skipped."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write, self.total = write, 0
        self._line = ""

    async def take(self, client: Client, job: str) -> None:
        """Write what is new until the log ends. Raises `GoneError`."""
        seen = 0
        async for text in client.tail(job):
            new = text[max(0, self.total - seen) :]
            seen += len(text)
            self.total = max(self.total, seen)
            self._line += new
            whole, newline, self._line = self._line.rpartition("\n")  # by lines: no secret is cut in two
            if newline:
                self.write(scrub(whole + newline))

    def finish(self) -> None:
        """Write what the log ends with where that is no line."""
        if self._line:
            self.write(scrub(self._line) + "\n")
        self._line = ""


class _Outage:
    """How long nothing was heard of the cluster, and how long that is borne."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._since: float | None = None
        self._said = False
        self._pause = SHORTEST

    def over(self) -> None:
        """Something was heard."""
        if self._said:
            log.warning("the cluster is back")
        self._since, self._said, self._pause = None, False, SHORTEST

    def wait(self, what: str) -> float | None:
        """Wait a little for it to be over; returns how long it has lasted where it is borne no longer."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        lasted = now - self._since
        if lasted > self.patience:
            return lasted
        if lasted >= _SAID_AFTER and not self._said:
            log.warning("%s; waited for, %.0f s at most", what, self.patience)
            self._said = True
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST)
        return None


def follow(jobs: Jobs, job: str, write: Callable[[str], None], patience: float = PATIENCE) -> Job:
    """Write a job's log as it grows; returns the job when it has ended.

    Args:
        jobs: of the cluster.
        job: its id.
        write: given the text, some lines at a time.
        patience: seconds for which a cluster that has gone is waited for.

    Raises:
        UnknownNameError: there is no such job.
        WorkError: the cluster has gone, or does not know the job any more. The job may go on.
    """
    from xtlray.submit.client import GoneError

    jobs.get(job)
    shown, outage = _Shown(write), _Outage(patience)
    try:
        while True:
            before, started = shown.total, time.monotonic()
            what = f"{jobs.address} ends the log before the job"
            try:
                try:
                    asyncio.run(shown.take(jobs.client, job))
                    complete = True
                except GoneError as error:
                    complete, what = False, error.got or what
                if shown.total > before or time.monotonic() - started > _STOOD:
                    outage.over()
                now = _known(jobs, job)
                if complete and not now.active:
                    return now
            except GoneError as error:
                what = error.got or what
            lasted = outage.wait(what)
            if lasted is not None:
                raise WorkError(
                    f"The log of {job} could not be followed for {lasted:.0f} s; the job itself may go on",
                    got=what,
                    fix=f"look again: {again(jobs, job)}",
                )
    finally:
        shown.finish()


def _known(jobs: Jobs, job: str) -> Job:
    found = jobs.find(job)
    if found is None:
        raise WorkError(
            "The cluster does not know the job any more, so its head was started anew",
            got=job,
            fix="submit the job again: what is finished is kept",
        )
    return found


def again(jobs: Jobs, job: str) -> str:
    """The command that follows a job."""
    return f"xtlray jobs logs {job} --follow --address {jobs.address}"
