"""What a sweep costs beside its trials: trials that sleep, through all of the sweep's own path.

Ray Tune, reused processes, records in the store and the word about each of them are those of a transfer job; only what
a trial does is another. Sleeping takes no core, so that a small machine can have the slots of a large one.

Figures of a sweep are taken between two moments: when each slot has begun a trial, for starting processes is another
matter and counted by itself, and when the last trial begins, for after that there is none left for an idle slot.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import ray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from xtlray import provenance
from xtlray.bench.bench import SCRATCH, Bench, Place, clear
from xtlray.errors import WorkError
from xtlray.nn.members import NetMember
from xtlray.pretrain.timing import peak_rss_mb
from xtlray.records import TrialRecord
from xtlray.settings import Settings
from xtlray.store import Store
from xtlray.transfer.plan import Arm, TrialSpec
from xtlray.transfer.sweep import run_trials
from xtlray.transfer.task import Pool
from xtlray.transfer.trial import Sweep, leave_record

TARGET = "bench/sleep"
WARM = 0.1  # of a sweep's trials: what the driver has taken for good by then does not grow with trials


class SweepBenchSettings(Settings):
    """Settings of the sweep benchmark."""

    bench: Literal["sweep"]
    dataset: tuple[str, ...] = Field((), max_length=0, description="none: the trials sleep")
    trials: PositiveInt = Field(400, description="trials of the sweep whose slots are to be busy")
    seconds: PositiveFloat = Field(4.0, description="that each of them sleeps, in s")
    slots: PositiveInt = Field(16, description="of them at once, on however many cores there are")
    few: int = Field(200, ge=10, description="trials of the short sweep")
    many: int = Field(2000, ge=10, description="trials of the long one, of as short trials")
    short_seconds: NonNegativeFloat = Field(0.05, description="that each of those trials sleeps, in s")
    short_slots: PositiveInt = Field(2, description="of those trials at once")
    repeats: PositiveInt = Field(1, description="how often few, many and few again; the ratio is the median")


@dataclass(frozen=True)
class Figures:
    """Of one sweep.

    Attributes:
        trials: all of them; slots: how many were to be at work at once.
        overhead_s: seconds of a slot per trial in which it does not sleep, between the two moments.
        busy_fraction: of the slots' time between the two moments, what they sleep.
        start_s: from the call until each slot has begun a trial.
        wall_s: of the call.
        span_s: from the first trial's beginning to the last one's end.
        overhead_whole_s: seconds of a slot per trial in which it does not sleep, from the first trial's beginning to
            the last one's end, starting processes and slots with nothing left to do included.
        driver_mb_per_trial: growth of the driver's resident memory while trials end, after the first tenth of them.
        driver_cpu_s: of a core's time that the driver takes per trial, after the first tenth: it hardly hangs on what
            else the machine does.
    """

    trials: int
    slots: int
    overhead_s: float
    busy_fraction: float
    start_s: float
    wall_s: float
    span_s: float
    overhead_whole_s: float
    driver_mb_per_trial: float
    driver_cpu_s: float


@dataclass(frozen=True)
class Nap:
    """One trial's sleep: in which process, from when to when (Unix, s)."""

    process: str
    began: float
    ended: float


@dataclass(frozen=True)
class Told:
    """The driver as it is told of a trial's end: its resident memory, and the time of a core that it has taken."""

    rss_mb: float
    cpu_s: float


def sleep_trial(
    store: Store, sweep: Sweep, spec: TrialSpec, pool: Pool, sources: Mapping[str, NetMember]
) -> TrialRecord:
    """A trial that sleeps for as long as its configuration says, and notes when and where."""
    began = time.time()
    time.sleep(spec.config["seconds"])
    nap = Nap(f"{socket.gethostname()} {os.getpid()}", began, time.time())
    outcome = {"status": "ok", "val_mae": 1.0, "val_rmse": 1.0, "history": [asdict(nap)]}
    return leave_record(store, sweep, spec, pool, {**outcome, "seconds": nap.ended - nap.began})


def measure(place: Place, settings: SweepBenchSettings) -> dict[str, Any]:
    """All figures; what the measurement has written beside them is deleted again.

    Raises:
        WorkError: a trial did not sleep.
    """
    try:
        with place.session():
            place.say(f"{settings.trials} trials of {settings.seconds:g} s, {settings.slots} at once")
            busy = sweep_of(place, "busy", settings.trials, settings.seconds, settings.slots)
            rounds = [_round(place, settings, n) for n in range(settings.repeats)]
    finally:
        clear(place)
    sweeps = {"busy": [busy], **{name: [each[name] for each in rounds] for name in ("few", "many", "again")}}
    return {
        "overhead_s": busy.overhead_s,
        "busy_fraction": busy.busy_fraction,
        "overhead_ratio_2000_over_200": _ratio(rounds, "overhead_s"),
        "driver_cpu_ratio_2000_over_200": _ratio(rounds, "driver_cpu_s"),
        "driver_mb_per_trial": max(each["many"].driver_mb_per_trial for each in rounds),
        "sweeps": [{"sweep": name, **asdict(each)} for name, several in sweeps.items() for each in several],
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
        "ray": provenance.versions().get("ray"),
    }


def _round(place: Place, settings: SweepBenchSettings, n: int) -> dict[str, Figures]:
    """Few, many and few again: a machine that others use is not always as fast."""
    found = {}
    for name in ("few", "many", "again"):
        trials = settings.many if name == "many" else settings.few
        place.say(f"round {n + 1} of {settings.repeats}: {trials} trials of {settings.short_seconds:g} s")
        found[name] = sweep_of(place, f"{name}-{n + 1}", trials, settings.short_seconds, settings.short_slots)
    return found


def _ratio(rounds: list[dict[str, Figures]], figure: str) -> float:
    """Many over few, which are the mean of those before and those after; of all rounds the median."""
    found = [{name: getattr(each, figure) for name, each in sweeps.items()} for sweeps in rounds]
    return median(2 * each["many"] / (each["few"] + each["again"]) for each in found)


def trials_of(trials: int, seconds: float) -> list[TrialSpec]:
    """So many trials that sleep so long."""
    arm = Arm(TARGET, "sleep", None)
    return [TrialSpec(arm, "0" * 64, {"seconds": seconds, "trial": n}, 0) for n in range(trials)]


def folder_of(place: Place, name: str) -> str:
    """Where a sweep of that name leaves its records, as a run's id."""
    return f"{place.folder.removeprefix('runs/')}/{SCRATCH}/{name}"


def sweep_of(
    place: Place, name: str, trials: int, seconds: float, slots: int, attempt: int = 1, share: float | None = None
) -> Figures:
    """Sweep over trials that sleep. Ray must be up.

    Args:
        place: where its records are left.
        name: of the sweep in that place; `attempt`: of it.
        trials: how many, and how many `seconds` each sleeps.
        slots: of them at once.
        share: cores of a trial; by default what a slot has of the cluster.
    """
    sweep = Sweep(place.store.url, folder_of(place, name), attempt, provenance.commit(), provenance.versions())
    specs = trials_of(trials, seconds)
    if share is None:
        share = int(ray.cluster_resources()["CPU"] / slots * 1e4) / 1e4  # Ray counts ten-thousandths of a core
    told: list[Told] = []
    started = time.time()
    records = run_trials(
        place.store,
        sweep,
        specs,
        {TARGET: _pool()},
        {},
        stage="sleep",
        share=(share, 0),
        session=place.session,
        on_record=lambda record, fresh: told.append(Told(rss_mb(), time.process_time())),
        run=sleep_trial,
    )
    wall = time.time() - started
    failed = [record.error for record in records.values() if record.status != "ok"]
    if failed:
        raise WorkError(f"{len(failed)} of {trials} trials did not sleep", got=failed[0])
    naps = [nap_of(record) for record in records.values()]
    return figures_of(naps, slots, started, wall, told)


def nap_of(record: TrialRecord) -> Nap:
    """What a trial that slept has noted."""
    return Nap(**record.history[0])


def _pool() -> Pool:
    """Of two rows: sleeping needs none."""
    x_BX = np.zeros((2, 1), np.float32)
    return Pool(TARGET, "0" * 64, "none", x_BX, np.zeros(2), np.array([0, 1], np.uint8), x_BX[:0])


def figures_of(naps: Iterable[Nap], slots: int, started: float, wall: float, told: Sequence[Told]) -> Figures:
    """The figures of a sweep.

    Args:
        naps: of all trials.
        slots: how many were to be at work at once.
        started: when the sweep was asked for (Unix, s); `wall`: seconds until it was done.
        told: of the driver, each time that a trial had ended.
    """
    naps = sorted(naps, key=lambda nap: nap.began)
    firsts = sorted({nap.process: nap.began for nap in reversed(naps)}.values())
    ready, last = firsts[min(slots, len(firsts)) - 1], naps[-1].began
    slot_time = slots * (last - ready)
    asleep = sum(max(0.0, min(nap.ended, last) - max(nap.began, ready)) for nap in naps)
    between = sum(nap.began > ready for nap in naps)
    span = max(nap.ended for nap in naps) - naps[0].began
    whole = slots * span - sum(nap.ended - nap.began for nap in naps)
    warm = int(len(told) * WARM)
    after = max(1, len(told) - 1 - warm)
    return Figures(
        trials=len(naps),
        slots=slots,
        overhead_s=(slot_time - asleep) / max(1, between),
        busy_fraction=asleep / slot_time if slot_time else 1.0,
        start_s=ready - started,
        wall_s=wall,
        span_s=span,
        overhead_whole_s=whole / len(naps),
        driver_mb_per_trial=(told[-1].rss_mb - told[warm].rss_mb) / after,
        driver_cpu_s=(told[-1].cpu_s - told[warm].cpu_s) / after,
    )


def rss_mb() -> float:
    """Resident memory of this process, in MB; where only Linux would say, the most that there has been."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError, ValueError):
        return peak_rss_mb()


BENCH = Bench(SweepBenchSettings, measure)
