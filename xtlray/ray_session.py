"""Ray for the length of a run: started late, on a folder of our own or joined by RAY_ADDRESS, its prints off stdout."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from xtlray import credentials, provenance
from xtlray.errors import WorkError
from xtlray.scrub import scrub
from xtlray.termination import kept_from_others

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
}


class RaySession:
    """Ray for the length of a run, started when it is first needed: a local one of our own, or RAY_ADDRESS'.

    A bare `ray.init()` would join whatever Ray it finds, somebody else's too on a shared machine. One that is up
    already in this process is used and left alone.
    """

    def __init__(self) -> None:
        self.started = False
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

    def __exit__(self, *_: object) -> None:
        try:
            if self.started:
                import ray

                ray.shutdown()
        finally:
            self._stdout.__exit__(None, None, None)

    def _start(self) -> None:
        address = os.environ.get("RAY_ADDRESS")
        for name, value in {**RAY_ENVIRONMENT, **({} if address else LOCAL_ENVIRONMENT)}.items():
            os.environ.setdefault(name, value)
        import ray

        if ray.is_initialized():
            return
        verbose = log.isEnabledFor(logging.DEBUG)
        common: dict[str, Any] = {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}
        try:
            if address:
                # Workers elsewhere have their node's environment: what S3 needs is set there too. Keys never travel.
                checksums = {name: os.environ[name] for name in credentials.CHECKSUMS}
                where: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": checksums}}
            else:
                # Not /tmp/ray, which may be somebody else's.
                cores, folder = provenance.cores(), str(provenance.scratch())
                where = {"address": "local", "num_cpus": cores, "include_dashboard": False, "_temp_dir": folder}
            with kept_from_others():
                ray.init(**where, **common)
        except Exception as error:  # whatever keeps Ray from starting is the user's to know, not ours to survive
            raise WorkError(
                "Ray could not be reached" if address else "Ray could not be started",
                got=scrub(f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"),
                fix="check RAY_ADDRESS, or unset it" if address else "see xtlray doctor --ray; a short TMPDIR may help",
            ) from error
        self.started = True
        for node in ray.nodes():
            log.debug("metrics at http://%s:%s/metrics", node["NodeManagerAddress"], node["MetricsExportPort"])
