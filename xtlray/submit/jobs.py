"""The jobs of a cluster, as its Jobs API knows them: found, sent, stopped, their logs."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from xtlray.errors import UnknownNameError, WorkError, unknown
from xtlray.scrub import scrub

if TYPE_CHECKING:
    from xtlray.submit.client import Client

log = logging.getLogger("xtlray.submit")
RUN, STORE, KIND, NONCE = "xtlray_run", "xtlray_store", "xtlray_kind", "xtlray_nonce"  # keys of a job's metadata
ACTIVE = frozenset({"pending", "running"})
STOPPING = 30.0  # seconds that a job has to end by itself before Ray ends it
_STOPPED = STOPPING + 30.0  # until it must be seen to have ended
_POLL = 0.5
_NOT_FOUND = 404


@dataclass(frozen=True)
class Job:
    """A job that was submitted to a cluster.

    Attributes:
        id: of its submission.
        status: `pending`, `running`, `stopped`, `succeeded` or `failed`.
        message: the cluster's words on it.
        exit_code: of its entrypoint; None where that has not come to its end.
        started: when it was submitted.
        ended: None while it is active.
        entrypoint: the command that it runs.
        node: id of the node that its driver runs on.
        metadata: what was said of it when it was submitted.
    """

    id: str
    status: str
    message: str
    exit_code: int | None
    started: datetime | None
    ended: datetime | None
    entrypoint: str
    node: str | None
    metadata: Mapping[str, str]

    @property
    def active(self) -> bool:
        return self.status in ACTIVE

    @property
    def run(self) -> str | None:
        return self.metadata.get(RUN)

    @property
    def store(self) -> str | None:
        return self.metadata.get(STORE)

    @property
    def seconds(self) -> float | None:
        """How long it took, or takes so far."""
        if self.started is None:
            return None
        return ((self.ended or datetime.now(UTC)) - self.started).total_seconds()

    @property
    def code(self) -> int:
        """The exit code that speaks for it: its own, as a shell tells it, else 1 where it has none and no success."""
        if self.exit_code is None:
            return 0 if self.status == "succeeded" else 1
        return self.exit_code if self.exit_code >= 0 else 128 - self.exit_code

    def as_json(self) -> dict[str, Any]:
        """What is shown of it. Environment variables are not: those of other people's jobs may hold secrets."""
        return {
            "id": self.id,
            "status": self.status,
            "run": self.run,
            "kind": self.metadata.get(KIND),
            "store": self.store,
            "started": _iso(self.started),
            "ended": _iso(self.ended),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "exit_code": self.exit_code,
            "message": self.message,
            "entrypoint": self.entrypoint,
            "node": self.node,
        }


class Jobs:
    """The jobs of one cluster. Every call may raise what `Client` raises."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @classmethod
    def at(cls, address: str) -> Jobs:
        """Those of the cluster whose dashboard is at `address`."""
        from xtlray.submit.client import Client

        return cls(Client(address))

    @property
    def address(self) -> str:
        return self.client.where

    @property
    def ray_version(self) -> str:
        """Of the cluster."""
        return str(self.client._server_ray_version)

    def all(self) -> list[Job]:
        """All that were submitted, the latest first."""
        found = [_job(each) for each in self.client.list_jobs() if each.submission_id]
        return sorted(found, key=lambda job: (job.started or datetime.min.replace(tzinfo=UTC), job.id), reverse=True)

    def find(self, job: str) -> Job | None:
        """The job of that id; None where the cluster does not know it."""
        from xtlray.submit.client import RefusedError

        if job in ("", ".", ".."):  # in an address these are the list of all jobs, and what is above it
            return None
        try:
            found = self.client.get_job_info(quote(job, safe=""))
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return _job(found) if found.submission_id == job else None

    def get(self, job: str) -> Job:
        """The job of that id. Raises `UnknownNameError` with the nearest ids."""
        found = self.find(job)
        if found is None:
            raise self.unknown(job)
        return found

    def unknown(self, job: str) -> UnknownNameError:
        """That there is no such job."""
        return unknown(
            "job", job, [each.id for each in self.all()], fix=f"see xtlray jobs list --address {self.address}"
        )

    def log(self, job: str) -> str:
        """All that the job has printed so far."""
        self.get(job)
        return str(self.client.get_job_logs(quote(job, safe="")))

    def upload(self, data: bytes) -> tuple[str, bool]:
        """Make sure that the cluster has an archive.

        Returns:
            Its URI, which its bytes decide, and whether it had to be sent.
        """
        uri = f"gcs://_ray_pkg_{hashlib.sha256(data).hexdigest()[:40]}.zip"
        if self.client.has_package(uri):
            return uri, False
        self.client.put_package(uri, data)
        return uri, True

    def stop(self, job: str) -> Job:
        """End a job, and wait until it has; one that is over already is left as it is.

        Raises:
            WorkError: it does not end.
        """
        found = self.get(job)
        if not found.active:
            return found
        self.client.stop_job(quote(job, safe=""))
        end = time.monotonic() + _STOPPED
        while time.monotonic() < end:
            time.sleep(_POLL)
            found = self.get(job)
            if not found.active:
                return found
        raise WorkError(
            f"{job} was told to stop, and goes on after {_STOPPED:.0f} s",
            got=f"status {found.status}",
            fix=f"look again: xtlray jobs show {job} --address {self.address}",
        )


def of_run(jobs: Iterable[Job], run: str) -> dict[int, Job]:
    """The submissions `<run>-<k>` of a run among `jobs`, by k, the highest first."""
    pattern = re.compile(rf"{re.escape(run)}-([1-9]\d*)")
    found = {int(match[1]): job for job in jobs if (match := pattern.fullmatch(job.id))}
    return dict(sorted(found.items(), reverse=True))


def _job(details: Any) -> Job:
    return Job(
        id=details.submission_id,
        status=str(details.status).lower(),
        message=scrub((details.message or "").strip()),  # of one that failed, the end of its log
        exit_code=details.driver_exit_code,
        started=_time(details.start_time),
        ended=_time(details.end_time),
        entrypoint=scrub(details.entrypoint),
        node=details.driver_node_id,
        metadata=dict(details.metadata or {}),
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.strftime("%Y-%m-%dT%H:%M:%SZ")
