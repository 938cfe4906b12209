"""The scale benchmark: what its figures mean; on real nodes it runs with the tests that kill."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from xtlray.bench import scale
from xtlray.bench.bench import Place
from xtlray.bench.scale import ScaleBenchSettings, limits, summary
from xtlray.bench.sweep import Figures, Nap, Told, figures_of
from xtlray.store import Store

JOB = Path(__file__).resolve().parents[2] / "jobs" / "bench" / "scale.yaml"


def figures(slots: int, trials: int, seconds: float, driver_cpu_s: float) -> Figures:
    """Of a sweep without any pause, whose driver takes so much."""
    each = trials // slots
    naps = [Nap(str(s), n * seconds, (n + 1) * seconds) for s in range(slots) for n in range(each)]
    told = [Told(100.0, n * driver_cpu_s) for n in range(trials)]
    return figures_of(naps, slots, 0.0, each * seconds, told)


def test_twice_the_nodes_in_half_the_time_is_all_that_there_is_to_gain() -> None:
    by_nodes = {1: figures(4, 240, 4, 0.02), 2: figures(8, 240, 4, 0.02), 4: figures(16, 240, 8, 0.02)}
    found = summary(by_nodes, {200: figures(4, 200, 0.05, 0.01), 2000: figures(4, 2000, 0.05, 0.02)})
    assert [each["efficiency"] for each in found["nodes"]] == pytest.approx([1, 1, 0.5])
    assert [each["span_s"] for each in found["nodes"]] == pytest.approx([240, 120, 120])
    assert found["trials_per_s_at_most"] == pytest.approx(50)
    assert found["trials_per_s_reached"] == pytest.approx(80)
    assert found["driver_cpu_ratio_many_over_few"] == pytest.approx(2)


def test_a_driver_keeps_more_slots_busy_with_longer_trials() -> None:
    assert limits(50, (1, 60)) == [{"trial_s": 1, "slots_at_most": 50}, {"trial_s": 60, "slots_at_most": 3000}]


def test_no_sweep_is_measured_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it would find its records, and take no time at all."""
    swept: list[str] = []

    def sweep(place: Place, cluster: Any, name: str, trials: int, seconds: float, slots: int) -> Figures:
        swept.append(name)
        return figures(slots, trials, seconds, 0.02)

    monkeypatch.setattr(scale, "LocalCluster", lambda cores: nullcontext())
    monkeypatch.setattr(scale, "_swept", sweep)
    settings = ScaleBenchSettings(bench="scale", nodes=(1, 2, 1), few=40, many=40)
    scale.measure(Place(store, "runs/r/attempts/1", nullcontext, lambda text: None), settings)
    assert swept == ["nodes-1", "nodes-2", "trials-40"]


def test_its_job_says_what_its_defaults_are() -> None:
    job = yaml.safe_load(JOB.read_text())
    given = {name: value for name, value in job.items() if name not in ("kind", "name")}
    assert ScaleBenchSettings.parse(given, "test") == ScaleBenchSettings(bench="scale")
