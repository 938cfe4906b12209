"""A job is submitted once, whoever asks how often, and whether or not the answers arrive.

Its id is `<run id>-<k>`, and a cluster takes an id once. So who submits looks for a submission of this run that is
active, and else takes the next k. A post whose answer was lost is looked up; one that was refused since the id is taken
has lost a race, and finds the winner's when it looks again.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xtlray import provenance
from xtlray.errors import RequestError, WorkError
from xtlray.scrub import holds_secret
from xtlray.store import BUILTIN_VARIABLE, ENVIRONMENT_VARIABLE, Store
from xtlray.submit import arrival, environment
from xtlray.submit.jobs import KIND, NONCE, RUN, STOPPING, STORE, Job, Jobs, of_run
from xtlray.submit.package import COMPLETE, JOB, START, START_SCRIPT, archive, code_files, put_builtin
from xtlray.submit.reach import Reach

log = logging.getLogger("xtlray.submit")
Say = Callable[[str], None]
PATIENCE = 60.0  # seconds in which a cluster that has gone away while it was asked to take a job must be back
_PAUSE = 2.0
_RACES = 8


@dataclass(frozen=True)
class Order:
    """What is to be submitted.

    Attributes:
        run: id of the run that the job is.
        kind: of the job.
        job: its file, resolved, so that its names mean the same whenever it starts.
        reach: the store, as the cluster reaches it.
        again: start a new run even if there is one.
    """

    run: str
    kind: str
    job: str
    reach: Reach
    again: bool = False

    @property
    def entrypoint(self) -> str:
        """The command that the cluster runs. What precedes `xtlray run` is explained in `package.py`."""
        words = ["run", JOB, "--expect", self.run, *(["--again"] if self.again else [])]
        return f"exec sh {START} {shlex.join(words)}"


@dataclass(frozen=True)
class Submitted:
    """A job that runs, or is to run. `fresh`: this call made it so; else it was found."""

    job: Job
    fresh: bool


def submit(jobs: Jobs, order: Order, store: Store, say: Say) -> Submitted:
    """Submit a job, unless it is pending or running.

    Args:
        jobs: of the cluster.
        order: the job.
        store: the job's, opened here; what the code comes with is put there.
        say: told of what is sent.

    Raises:
        RequestError: something in it must not travel, or is too large.
        WorkError: the cluster does not take it, or has gone.
    """
    prepared: _Prepared | None = None
    for _ in range(_RACES):
        known = of_run(jobs.all(), order.run)
        active = [job for job in known.values() if job.active and job.store == order.reach.store]
        if active:
            return Submitted(active[0], fresh=False)
        if prepared is None:
            prepared = _prepare(jobs, order, store, say)
        name = f"{order.run}-{max(known, default=0) + 1}"
        made = _post(jobs, name, order, prepared)
        if made is not None:
            return Submitted(made, fresh=True)
    raise WorkError(
        f"{order.run} is being submitted by many at once, and none of them was seen to run",
        fix=f"look at xtlray jobs list --address {jobs.address}, then submit it again",
    )


def latest(jobs: Jobs, run: str, reach: Reach) -> Job | None:
    """The latest submission of a run on this store; None where the cluster knows none."""
    return next((job for job in of_run(jobs.all(), run).values() if job.store == reach.store), None)


@dataclass(frozen=True)
class _Prepared:
    """What the cluster and the store have by now: the URIs of the archives, the folder of what is built in."""

    code: str
    job: str
    builtin: str


def _prepare(jobs: Jobs, order: Order, store: Store, say: Say) -> _Prepared:
    """Send what is needed, where it is not there yet."""
    stated = environment.stated()
    _compare_ray(jobs, stated["packages"]["ray"]["version"], say)
    code = archive(code_files())
    builtin, size, had_to = put_builtin(store)
    told = "put into the store, once" if had_to else "in the store already"
    say(f"built-in datasets and models: {size / 1e6:.1f} MB, {told}")
    stated |= {"store": order.reach.store, "builtin": f"{builtin}/{COMPLETE}"}
    parts = {
        JOB: order.job.encode(),
        START: START_SCRIPT.encode(),
        arrival.STATED: json.dumps(stated, indent=1, sort_keys=True).encode(),
    }
    for name, data in parts.items():
        _refuse_secrets(data.decode(), name)
    uris = []
    for what, data in (("code", code), ("job", archive(parts))):
        uri, sent = jobs.upload(data)
        say(f"{what}: {len(data) / 1e3:.0f} KB, {'sent' if sent else 'on the cluster already'}")
        uris.append(uri)
    return _Prepared(uris[0], uris[1], builtin)


def _compare_ray(jobs: Jobs, here: str | None, say: Say) -> None:
    if jobs.ray_version != here:
        say(f"the cluster's Ray is {jobs.ray_version}, this one {here}: the job will say whether that can do")


def variables(order: Order, builtin: str) -> dict[str, str]:
    """What is set for the job's processes on all nodes. Who we are to the store is not: nodes know that themselves.

    Nor are the variables that `ray_session.py` sets for a cluster: of two that set one, Ray takes neither.
    """
    commit = provenance.commit()
    return {
        ENVIRONMENT_VARIABLE: order.reach.store,
        BUILTIN_VARIABLE: f"{order.reach.store.rstrip('/')}/{builtin}",
        **order.reach.settings,
        **({provenance.COMMIT_VARIABLE: commit} if commit else {}),
        # Asked to stop, a job does as on Ctrl-C, and keeps its log.
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": f"{STOPPING:.0f}",
    }


def _post(jobs: Jobs, name: str, order: Order, prepared: _Prepared) -> Job | None:
    """Submit under the id `name`; None where somebody else has it."""
    from xtlray.submit.client import GoneError

    request = {
        "entrypoint": order.entrypoint,
        "runtime_env": {
            "working_dir": prepared.job,
            "py_modules": [prepared.code],
            "env_vars": variables(order, prepared.builtin),
        },
        "metadata": {RUN: order.run, STORE: order.reach.store, KIND: order.kind, NONCE: uuid.uuid4().hex},
    }
    _refuse_secrets(json.dumps(request), "the request")
    end = time.monotonic() + PATIENCE
    asked = False
    while True:
        try:
            return _take(jobs, name, request, asked)
        except GoneError as error:  # it may have taken the job before it went
            if time.monotonic() > end:
                raise
            log.warning("%s; whether it has taken the job is not known, so it is asked again", error.got)
        asked = True
        time.sleep(_PAUSE)


def _take(jobs: Jobs, name: str, request: dict[str, Any], asked: bool) -> Job | None:
    """Ask once; where it was `asked` before, only if the job is not there by now."""
    from xtlray.submit.client import RefusedError

    refused: RefusedError | None = None
    there = jobs.find(name) if asked else None
    if there is None:
        try:
            jobs.client.submit_job(submission_id=name, **request)
        except RefusedError as error:  # since the id is taken, or for another reason
            refused = error
        there = jobs.find(name)
    if there is None:
        raise refused or WorkError("The cluster took the job, and does not know it", got=name, fix="submit it again")
    return there if there.metadata.get(NONCE) == request["metadata"][NONCE] else None


def _refuse_secrets(text: str, where: str) -> None:
    if holds_secret(text):
        raise RequestError(
            "A secret would be sent to the cluster, where all of its users could read it",
            got=f"it stands in {where}, and is not repeated here",
            fix="take it out; nodes of a cluster find the keys of the store in their own environment",
        )
