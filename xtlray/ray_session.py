"""Ray for the length of a run: started late, on a folder of our own or joined by RAY_ADDRESS, its prints off stdout."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from xtlray import credentials, provenance, scratch
from xtlray.errors import RequestError, WorkError
from xtlray.scrub import scrub
from xtlray.termination import kept_from_others, terminated

log = logging.getLogger("xtlray.ray")
# Set before Ray is imported, unless the user has set them.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no word to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning at each start
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output of Tune ignores verbose=0
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours to answer
    **credentials.CHECKSUMS,
}
# Of a Ray of our own, on one machine: its helpers are processes that take a hundredth of a core each, idle or not.
LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes the only machine away
    # Of each of its logs, in bytes: by default half a GB, five times over, for each process.
    "RAY_ROTATION_MAX_BYTES": str(16 * 2**20),
    "RAY_ROTATION_BACKUP_COUNT": "1",
}
# Of a Ray that is joined, which has a dashboard: it lists trainings only where they say that they are there.
CLUSTER_ENVIRONMENT = {"RAY_TRAIN_ENABLE_STATE_TRACKING": "1"}
KeepLogs = Callable[[dict[str, bytes]], None]


class RaySession:
    """Ray for the length of a run, started when it is first needed: a local one of our own, or RAY_ADDRESS'.

    A bare `ray.init()` would join whatever Ray it finds, somebody else's too on a shared machine. One that is up
    already in this process is used and left alone.

    Args:
        run: what Ray's dashboard is to call it.
        keep_logs: takes the ends of the logs of actors that died, by file name, before Ray is left.
    """

    def __init__(self, run: str | None = None, keep_logs: KeepLogs | None = None) -> None:
        self.run, self.keep_logs = run, keep_logs
        self.started = False
        self._session: Path | None = None  # the folder of the Ray on this machine
        self._own: Path | None = None  # the same, of a Ray that was started here
        self._stdout = redirect_stdout(sys.stderr)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Ray is up inside."""
        self._start()
        yield

    def __enter__(self) -> RaySession:
        # Ray prints what its raylet says from a thread of its own, at any time until it is shut down, and what it
        # held back while it shuts down. stdout is for results.
        self._stdout.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        failed = isinstance(error, Exception) and not isinstance(error, RequestError)  # Ctrl-C is none
        try:
            if self.started:
                import ray

                if not terminated():  # who sent SIGTERM may have sent it to Ray as well, which then answers nothing
                    self._keep_logs(failed)
                ray.shutdown()
                self._clear_up(failed)
        finally:
            self._stdout.__exit__(None, None, None)

    def _keep_logs(self, failed: bool) -> None:
        if self.keep_logs is None:
            return
        from xtlray.ray_logs import of_the_dead

        try:
            found = of_the_dead(self._session, failed)
            if found:
                self.keep_logs(found)
        except Exception as error:  # logs must not hide what ended the work, nor end it
            log.debug("Ray's logs could not be kept: %s", error)

    def _clear_up(self, failed: bool) -> None:
        """A Ray of our own leaves nothing on the disk; where the work failed its logs stay until a later start."""
        scratch.remove(_targets_file())
        if self._own is None:
            return
        size = scratch.size_of(self._own) / 1e6
        if failed:
            log.debug("Ray's logs, %.1f MB, are in %s until a later run clears them away", size, self._own)
        else:
            scratch.remove(self._own)
            log.debug("Ray's files, %.1f MB in %s, are removed", size, self._own)

    def _start(self) -> None:
        address = os.environ.get("RAY_ADDRESS")
        for name, value in {**RAY_ENVIRONMENT, **(CLUSTER_ENVIRONMENT if address else LOCAL_ENVIRONMENT)}.items():
            os.environ.setdefault(name, value)
        import ray

        if ray.is_initialized():
            return
        verbose = log.isEnabledFor(logging.DEBUG)
        common: dict[str, Any] = {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}
        if self.run:
            common["job_config"] = ray.job_config.JobConfig(metadata={"xtlray_run": self.run})
        try:
            if address:
                # Workers elsewhere have their node's environment: what S3 needs is set there too. Keys never travel.
                given = _given_to_the_job()
                checksums = {name: os.environ[name] for name in credentials.CHECKSUMS if name not in given}
                where: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": checksums}}
            else:
                # Not /tmp/ray, which may be somebody else's.
                scratch.clear_dead()
                cores, folder = provenance.cores(), str(provenance.scratch())
                where = {"address": "local", "num_cpus": cores, "include_dashboard": False, "_temp_dir": folder}
            try:
                with kept_from_others():
                    joined = ray.init(**where, **common)
            finally:
                if not address:
                    scratch.keep_private()
        except Exception as error:  # whatever keeps Ray from starting is the user's to know, not ours to survive
            raise WorkError(
                "Ray could not be reached" if address else "Ray could not be started",
                got=scrub(f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"),
                fix="check RAY_ADDRESS, or unset it" if address else "see xtlray doctor --ray; a short TMPDIR may help",
            ) from error
        self.started = True
        self._session = _session_of(joined)
        self._own = None if address else self._session
        targets = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes()]
        for target in targets:
            log.debug("metrics at http://%s/metrics", target)
        if self._own is not None:  # a Ray without a dashboard does not write it itself
            _targets_file().write_text(json.dumps([{"labels": {"job": "ray"}, "targets": targets}]))


def _session_of(joined: Any) -> Path | None:
    """The folder of the Ray on this machine, from what `ray.init` returned."""
    folder = getattr(joined, "address_info", {}).get("session_dir")
    return Path(folder) if folder else None


def _targets_file() -> Path:
    """Where Prometheus finds the metrics of a Ray of our own: its files of targets may be named by a pattern."""
    return provenance.scratch() / scratch.own_name("metrics", ".json")


def _given_to_the_job() -> Set[str]:
    """Names of the variables that all processes of a submitted job have already; Ray refuses to set one twice."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return set((job.get("runtime_env") or {}).get("env_vars") or {})
