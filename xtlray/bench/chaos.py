"""A sweep of which something is killed at random every half minute: does it finish, with every record once, how slowly?

The trials sleep, on a cluster of nodes on this machine; the program that drives them is a process of its own. What is
killed is one of these, never anything else: a trial's process, a worker node, the driver, or the head node with all
the rest. A worker node is replaced by a new one after a while, a driver is started again as a queue would start it.

Figures of an undisturbed sweep are taken on a cluster of the same size before.
"""

from __future__ import annotations

import json
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from xtlray import provenance
from xtlray.bench.bench import Bench, Place, clear
from xtlray.bench.local_cluster import LocalCluster
from xtlray.bench.processes import TRIAL_AT_WORK, send
from xtlray.bench.sleepers import Sleep, Sleepers
from xtlray.bench.sweep import folder_of, nap_of, trials_of
from xtlray.errors import WorkError
from xtlray.records import TrialRecord
from xtlray.settings import Settings
from xtlray.store import Store

Victim = Literal["trial", "worker", "driver", "head"]
LOOK_EVERY = 0.2  # seconds


class ChaosBenchSettings(Settings):
    """Settings of the chaos benchmark."""

    bench: Literal["chaos"]
    dataset: tuple[str, ...] = Field((), max_length=0, description="none: the trials sleep")
    minutes: PositiveFloat = Field(20.0, description="that the sweep would take undisturbed")
    calm_minutes: PositiveFloat = Field(4.0, description="that the undisturbed sweep takes, with which it is compared")
    seconds: PositiveFloat = Field(4.0, description="that each trial sleeps, in s")
    nodes: int = Field(3, ge=2, description="nodes of the cluster, one of them the head")
    cores: PositiveInt = Field(2, description="logical cores of a node, a trial each")
    every: PositiveFloat = Field(30.0, description="seconds between two kills")
    victims: tuple[Victim, ...] = Field(
        ("trial", "trial", "trial", "worker", "worker", "driver", "head"),
        min_length=1,
        description="what is killed: all of these in an order drawn at random, then all of them in another, and so on",
    )
    back_after: NonNegativeFloat = Field(10.0, description="seconds after which a lost worker node is replaced")
    seed: NonNegativeInt = Field(0, description="of what is drawn")
    repeats: Literal[1] = Field(1, description="no more than one")


@dataclass(frozen=True)
class Kill:
    """One line of the log: when (seconds since the start), what, how many processes, and how far the sweep was."""

    at_s: float
    killed: str
    processes: int
    records: int


@dataclass(frozen=True)
class Check:
    """What became of the records: each trial must have one, that of its first end."""

    trials: int
    records: int
    lost: int
    doubled: int
    changed: int
    failed: int

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, doubled or changed, and no trial was given up."""
        return not (self.lost or self.doubled or self.changed or self.failed)


def measure(place: Place, settings: ChaosBenchSettings) -> dict[str, Any]:
    """All figures; what the sweeps have written is deleted again.

    Raises:
        WorkError: a sweep did not finish, or a record was lost, doubled or changed.
    """
    slots = settings.nodes * settings.cores
    calm, stormy = (int(60 * m * slots / settings.seconds) for m in (settings.calm_minutes, settings.minutes))
    try:
        place.say(f"undisturbed: {calm} trials of {settings.seconds:g} s on {settings.nodes} nodes, {slots} at once")
        calm_rate = _undisturbed(place, settings, calm)
        place.say(f"something is killed every {settings.every:g} s: {stormy} trials")
        storm = Storm(place, settings, stormy)
        storm.run()
        records = _records(place.store, storm.folder)
        check = check_records(records, storm.seen, [spec.id for spec in trials_of(stormy, settings.seconds)])
        rate = _rate(records)
    finally:
        clear(place)
    if not check.passed:
        raise WorkError("The records are not what they should be", got=f"{asdict(check)}; kills: {storm.told()}")
    return {
        **asdict(check),
        "attempts": storm.attempt,
        "driver_gave_up": storm.gave_up,
        "minutes": storm.seconds / 60,
        "trials_per_minute": rate,
        "trials_per_minute_undisturbed": calm_rate,
        "slowdown": calm_rate / rate,
        "kills": [asdict(kill) for kill in storm.kills],
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
        "ray": provenance.versions().get("ray"),
    }


def _undisturbed(place: Place, settings: ChaosBenchSettings, trials: int) -> float:
    """Trials per minute of a sweep that nothing happens to."""
    slots = settings.nodes * settings.cores
    with LocalCluster([settings.cores] * settings.nodes) as cluster, tempfile.TemporaryDirectory() as logs:
        sleep = Sleep(place.store.url, place.folder, "calm", trials, settings.seconds, slots)
        sleepers = Sleepers(sleep, cluster.environment, Path(logs) / "calm.log")
        try:
            sleepers.figures(_patience(settings.calm_minutes))
        finally:
            sleepers.kill()
    return _rate(_records(place.store, folder_of(place, "calm")))


class Storm:
    """The sweep that is disturbed.

    Attributes:
        folder: where its records lie, as a run's id.
        kills: the log.
        attempt: how often the driver was started.
        gave_up: how often it had ended by itself before the sweep was done.
        seen: every record as it was first seen, by trial id.
        seconds: how long it took.
    """

    def __init__(self, place: Place, settings: ChaosBenchSettings, trials: int) -> None:
        self.place, self.settings, self.trials = place, settings, trials
        self.folder = folder_of(place, "storm")
        self.kills: list[Kill] = []
        self.seen: dict[str, bytes] = {}
        self.attempt, self.gave_up, self.seconds = 0, 0, 0.0
        self._draw = random.Random(settings.seed)
        self._victims = shuffled(settings.victims, self._draw)
        self._returns: list[float] = []  # when a lost node is replaced

    def run(self) -> None:
        """Sweep and kill, until the sweep is done.

        Raises:
            WorkError: it did not finish in four times the time, and five minutes.
        """
        self._began = time.monotonic()
        with tempfile.TemporaryDirectory() as logs, ExitStack() as stack:
            self._logs = Path(logs)
            self._start_cluster()
            stack.callback(lambda: self._cluster.close())  # whichever it is by then
            self._start_driver()
            stack.callback(lambda: self._driver.kill())
            self._rage(_patience(self.settings.minutes))
        self.seconds = self._now()

    def _rage(self, limit: float) -> None:
        next_kill, victim = self.settings.every, next(self._victims)
        while (code := self._driver.popen.poll()) != 0:
            if code is not None:  # a queue starts it again
                if code != -signal.SIGKILL:
                    self.gave_up += 1
                    self.place.say(f"{self._now():.0f} s: the driver gave up: {self._driver.last_words()}")
                self._start_driver()
            elif self._now() > limit:
                raise WorkError("The sweep did not finish", got=f"{self._driver.last_words()}; {self.told()}")
            elif self._now() >= next_kill and self._kill(victim):
                next_kill, victim = self._now() + self.settings.every, next(self._victims)
            elif self._returns and self._now() >= self._returns[0]:
                self._returns.pop(0)
                self._cluster.join(self.settings.cores)
            time.sleep(LOOK_EVERY)

    def told(self) -> str:
        """The log in a line."""
        return ", ".join(f"{kill.at_s:.0f} s {kill.killed}" for kill in self.kills)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _start_cluster(self) -> None:
        self._returns = []
        self._cluster = LocalCluster([self.settings.cores] * self.settings.nodes)
        self._cluster.__enter__()

    def _start_driver(self) -> None:
        self.attempt += 1
        settings = self.settings
        sleep = Sleep(
            self.place.store.url,
            self.place.folder,
            "storm",
            self.trials,
            settings.seconds,
            settings.nodes * settings.cores,
            self.attempt,
        )
        self._driver = Sleepers(sleep, self._cluster.environment, self._logs / f"driver-{self.attempt}.log")

    def _kill(self, victim: Victim) -> bool:
        """Kill one such; False where there is none at the moment, or nothing is left to do."""
        records, at = self._look(), self._now()
        if records == self.trials:
            return False
        if victim == "trial":
            at_work = [each for node in self._cluster.nodes for each in node.processes(TRIAL_AT_WORK)]
            processes = min(1, len(at_work))
            if at_work:
                send(self._draw.choice(at_work))
        elif victim == "worker":
            processes = self._lose_a_node()
        else:
            processes = 1
            self._driver.kill()
            if victim == "head":
                processes += sum(len(node.processes()) for node in self._cluster.nodes)
                self._cluster.close()
                self._start_cluster()
        if processes:
            self.kills.append(Kill(round(at, 1), victim, processes, records))
            self.place.say(f"{at:.0f} s: killed {victim} ({processes} processes), {records} of {self.trials} done")
        return processes > 0

    def _lose_a_node(self) -> int:
        if not self._cluster.workers:
            return 0
        node = self._draw.choice(self._cluster.workers)
        processes = len(node.processes())
        self._cluster.lose(node)
        self._returns.append(self._now() + self.settings.back_after)
        return processes

    def _look(self) -> int:
        """Keep the records that have come; how many there are."""
        for key in self.place.store.children(f"runs/{self.folder}/trials"):
            trial = key.removesuffix(".json")
            if trial not in self.seen:
                self.seen[trial] = self.place.store.get(f"runs/{self.folder}/trials/{key}")
        return len(self.seen)


def shuffled(victims: Sequence[Victim], draw: random.Random) -> Iterator[Victim]:
    """All of them in an order drawn at random, again and again."""
    while True:
        yield from draw.sample(victims, len(victims))


def check_records(records: Mapping[str, bytes], seen: Mapping[str, bytes], trials: Sequence[str]) -> Check:
    """Compare the records with what there should be.

    Args:
        records: at the end, by the name that they lie under.
        seen: as they were when they were first seen.
        trials: the ids of all trials.
    """
    parsed = _parsed(records)
    of = [record.trial for record in parsed]
    return Check(
        trials=len(trials),
        records=len(records),
        lost=len(set(trials) - set(of)),
        doubled=len(of) - len(set(of)) + len(set(of) - set(trials)),
        changed=sum(records.get(name) != value for name, value in seen.items()),
        failed=sum(record.status != "ok" for record in parsed),
    )


def _records(store: Store, folder: str) -> dict[str, bytes]:
    names = store.children(f"runs/{folder}/trials")
    values = store.get_all([f"runs/{folder}/trials/{name}" for name in names])
    return {name.removesuffix(".json"): value for name, value in zip(names, values, strict=True) if value is not None}


def _parsed(records: Mapping[str, bytes]) -> list[TrialRecord]:
    return [TrialRecord.read(json.loads(value), name) for name, value in records.items()]


def _rate(records: Mapping[str, bytes]) -> float:
    """Trials per minute, from when the first began until the last ended."""
    naps = [nap_of(record) for record in _parsed(records) if record.status == "ok"]
    return 60 * len(naps) / (max(nap.ended for nap in naps) - min(nap.began for nap in naps))


def _patience(minutes: float) -> float:
    """Seconds after which a sweep of so many minutes has hung."""
    return 60 * (4 * minutes + 5)


BENCH = Bench(ChaosBenchSettings, measure)
