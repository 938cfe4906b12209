"""How the cost of a sweep grows with nodes and with trials, and where its driver becomes the limit.

The same trials, which sleep, on one node of this machine, on two and on four (logical cores: sleeping takes none); then
few and many short ones on one node, whose driver has more to do than anything else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from xtlray import provenance
from xtlray.bench.bench import Bench, Place, clear
from xtlray.bench.local_cluster import LocalCluster
from xtlray.bench.sleepers import Sleep, Sleepers
from xtlray.bench.sweep import Figures
from xtlray.settings import Settings

LENGTHS = (1, 10, 60, 600)  # seconds of a trial for which it is said how many slots a driver keeps busy
PATIENCE = 5.0  # times the time that a sweep should take, and five minutes


class ScaleBenchSettings(Settings):
    """Settings of the scale benchmark."""

    bench: Literal["scale"]
    dataset: tuple[str, ...] = Field((), max_length=0, description="none: the trials sleep")
    nodes: tuple[PositiveInt, ...] = Field((1, 2, 4), min_length=1, description="nodes of each cluster, from one on")
    cores: PositiveInt = Field(4, description="logical cores of a node, a trial each")
    trials: PositiveInt = Field(240, description="of the sweep that all clusters have to do")
    seconds: PositiveFloat = Field(4.0, description="that each of them sleeps, in s")
    few: int = Field(200, ge=10, description="trials of the short sweep on one node")
    many: int = Field(2000, ge=10, description="trials of the long one")
    short_seconds: NonNegativeFloat = Field(0.05, description="that each of those trials sleeps, in s")
    repeats: Literal[1] = Field(1, description="no more than one")


def measure(place: Place, settings: ScaleBenchSettings) -> dict[str, Any]:
    """All figures; what the sweeps have written is deleted again.

    Raises:
        WorkError: a sweep failed.
    """
    by_nodes: dict[int, Figures] = {}
    by_trials: dict[int, Figures] = {}
    try:
        for nodes in dict.fromkeys(settings.nodes):  # a sweep of the same name would find its records there already
            with LocalCluster([settings.cores] * nodes) as cluster:
                place.say(f"{nodes} nodes: {settings.trials} trials of {settings.seconds:g} s")
                slots = nodes * settings.cores
                by_nodes[nodes] = _swept(place, cluster, f"nodes-{nodes}", settings.trials, settings.seconds, slots)
        with LocalCluster([settings.cores]) as cluster:
            for trials in dict.fromkeys((settings.few, settings.many)):
                place.say(f"one node: {trials} trials of {settings.short_seconds:g} s")
                name = f"trials-{trials}"
                by_trials[trials] = _swept(place, cluster, name, trials, settings.short_seconds, settings.cores)
    finally:
        clear(place)
    return {
        **summary(by_nodes, by_trials),
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
        "ray": provenance.versions().get("ray"),
    }


def _swept(place: Place, cluster: LocalCluster, name: str, trials: int, seconds: float, slots: int) -> Figures:
    with tempfile.TemporaryDirectory() as logs:
        sleep = Sleep(place.store.url, place.folder, name, trials, seconds, slots)
        sleepers = Sleepers(sleep, cluster.environment, Path(logs) / f"{name}.log")
        try:
            return sleepers.figures(300 + PATIENCE * trials * (seconds + 0.2) / slots)
        finally:
            sleepers.kill()


def summary(by_nodes: Mapping[int, Figures], by_trials: Mapping[int, Figures]) -> dict[str, Any]:
    """What the sweeps come to.

    A trial costs the driver some time of one core, whatever else the machine does: so many trials a second are the
    most that it can follow, on any cluster.

    Args:
        by_nodes: figures of the same trials by number of nodes.
        by_trials: figures of short trials on one node by their number.
    """
    fewest, most = min(by_nodes), max(by_trials)
    alone = fewest * by_nodes[fewest].span_s
    limit = 1 / by_trials[most].driver_cpu_s
    return {
        "driver_cpu_s": by_trials[most].driver_cpu_s,
        "trials_per_s_at_most": limit,
        "trials_per_s_reached": most / by_trials[most].span_s,
        "driver_cpu_ratio_many_over_few": by_trials[most].driver_cpu_s / by_trials[min(by_trials)].driver_cpu_s,
        "nodes": [
            {"nodes": n, "efficiency": alone / (n * each.span_s), **_shown(each)} for n, each in by_nodes.items()
        ],
        "trials": [_shown(each) for each in by_trials.values()],
        "driver_limit": limits(limit, LENGTHS),
    }


def limits(per_s: float, lengths: Sequence[float]) -> list[dict[str, float]]:
    """How many slots a driver that follows `per_s` trials a second keeps busy, by the length of a trial."""
    return [{"trial_s": seconds, "slots_at_most": int(per_s * seconds)} for seconds in lengths]


def _shown(figures: Figures) -> dict[str, Any]:
    names = ("trials", "slots", "span_s", "start_s", "busy_fraction", "overhead_s", "driver_cpu_s")
    return {name: value for name, value in asdict(figures).items() if name in names}


BENCH = Bench(ScaleBenchSettings, measure)
