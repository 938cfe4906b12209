"""A sweep over trials that sleep, as a program of its own on the cluster that RAY_ADDRESS names: to be killed or timed.

    python -m xtlray.bench.sleepers '{"store": …, "folder": …, "name": …, "trials": …, …}'

prints the sweep's figures as JSON. A sweep that is started again does not run again what has its record.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from xtlray.bench.bench import Place
from xtlray.bench.processes import kill_tagged, tagged_environment
from xtlray.bench.sweep import Figures, sweep_of
from xtlray.errors import WorkError
from xtlray.ray_session import RaySession
from xtlray.store import Store


@dataclass(frozen=True)
class Sleep:
    """What the program is to do: the arguments of `sweep_of`, and where. Trials have one logical core each."""

    store: str
    folder: str
    name: str
    trials: int
    seconds: float
    slots: int
    attempt: int = 1


class Sleepers:
    """The program, started in a session of its own.

    Args:
        sleep: what it is to do.
        environment: what it needs to find its cluster.
        log: where its stderr goes; its stdout lies beside.
    """

    def __init__(self, sleep: Sleep, environment: dict[str, str], log: Path) -> None:
        self.tag, self.log, self.out = uuid.uuid4().hex, log, log.with_suffix(".json")
        with self.out.open("w") as out, log.open("w") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "xtlray.bench.sleepers", json.dumps(asdict(sleep))],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment, **tagged_environment(self.tag)},
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to it, and to what it may have started."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()
        kill_tagged(self.tag)

    def figures(self, seconds: float) -> Figures:
        """Wait for its end, at most so long; what it has found.

        Raises:
            WorkError: it failed.
        """
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise WorkError(f"The sweep was not done after {seconds:.0f} s", got=self.last_words()) from None
        if code:
            raise WorkError("The sweep failed", got=self.last_words())
        return Figures(**json.loads(self.out.read_text()))

    def last_words(self) -> str:
        """The end of what it said."""
        return " ".join(self.log.read_text().split()[-60:])


def main(argument: str) -> None:
    """Sweep, and print the figures."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    sleep = Sleep(**json.loads(argument))
    with RaySession() as session:
        place = Place(Store.open(sleep.store), sleep.folder, session, logging.info)
        with session():
            figures = sweep_of(
                place, sleep.name, sleep.trials, sleep.seconds, sleep.slots, attempt=sleep.attempt, share=1.0
            )
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
