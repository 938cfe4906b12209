"""The sweep benchmark: what its figures are of, and all of it in miniature on a Ray of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xtlray.bench.bench import SCRATCH
from xtlray.bench.sweep import Nap, SweepBenchSettings, Told, _ratio, figures_of, rss_mb
from xtlray.cli.main import main
from xtlray.errors import RequestError
from xtlray.pretrain.timing import peak_rss_mb

JOB = str(Path(__file__).resolve().parents[2] / "jobs" / "bench" / "sweep.yaml")
SMALL = {"trials": 8, "seconds": 0.1, "slots": 2, "few": 10, "many": 20, "short_seconds": 0.01}

IDLE = Told(0, 0)


def naps(process: str, *times: tuple[float, float]) -> list[Nap]:
    return [Nap(process, began, ended) for began, ended in times]


def test_figures_are_of_the_time_in_which_all_slots_can_work() -> None:
    """Slot a begins at 10, slot b at 20: nothing before counts, nor what lies after the last beginning, at 40."""
    a = naps("a", (10, 18), (22, 30), (32, 38), (40, 48))
    b = naps("b", (20, 29), (30, 39))
    found = figures_of([*b, *a], 2, started=4, wall=50, told=[IDLE])
    asleep = 8 + 6 + 9 + 9  # of 2 × 20 s
    assert found.busy_fraction == pytest.approx(asleep / 40)
    assert found.overhead_s == pytest.approx((40 - asleep) / 4)  # the trials that began after 20
    assert found.overhead_whole_s == pytest.approx((2 * (48 - 10) - (8 + 8 + 6 + 8 + 9 + 9)) / 6)
    assert (found.start_s, found.wall_s, found.trials, found.slots) == (16, 50, 6, 2)


def test_a_slot_that_never_works_is_idle() -> None:
    found = figures_of(naps("a", (0, 10), (10, 20), (20, 30)), 2, started=0, wall=30, told=[IDLE])
    assert found.busy_fraction == pytest.approx(0.5)
    assert found.overhead_s == pytest.approx(10)


def test_a_process_that_is_replaced_leaves_its_slot_idle_meanwhile() -> None:
    found = figures_of([*naps("a", (0, 4)), *naps("b", (0, 10), (10, 14)), *naps("c", (8, 12))], 2, 0, 14, [IDLE])
    assert found.busy_fraction == pytest.approx(16 / 20)
    assert found.overhead_s == pytest.approx(4 / 2)


def test_the_driver_takes_what_came_after_the_first_tenth() -> None:
    told = [Told(100, n) for n in range(10)] + [Told(200 + 0.5 * n, 50 + 0.1 * n) for n in range(91)]
    found = figures_of(naps("a", (0, 1)), 1, 0, 1, told)
    assert found.driver_mb_per_trial == pytest.approx(0.5)
    assert found.driver_cpu_s == pytest.approx(0.1)


def test_many_are_compared_with_few_before_and_after() -> None:
    gaps = {"few": 1, "many": 3, "again": 2}
    found = {name: figures_of(naps("a", (0, 1), (1 + s, 2 + s)), 1, 0, 1, [IDLE]) for name, s in gaps.items()}
    assert _ratio([found], "overhead_s") == pytest.approx(2)


def test_resident_memory() -> None:
    assert 10 < rss_mb() <= 1.01 * peak_rss_mb()


def test_it_takes_no_dataset() -> None:
    assert SweepBenchSettings.parse({"bench": "sweep"}, "test").dataset == ()
    with pytest.raises(RequestError, match="dataset"):
        SweepBenchSettings.parse({"bench": "sweep", "dataset": ["demo/x"]}, "test")


@pytest.mark.ray
def test_all_of_it(tmp_path: Path, local_ray: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    assert main(["run", JOB, *sets, "--store", str(tmp_path), "--json", "--quiet"]) == 0
    answer = json.loads(capsys.readouterr().out)
    found = answer["bench"]
    assert json.loads(Path(answer["bench_file"]).read_text()) == found
    assert 0 < found["overhead_s"] < 60
    assert 0 <= found["busy_fraction"] <= 1
    assert found["overhead_ratio_2000_over_200"] > 0
    assert found["driver_cpu_ratio_2000_over_200"] > 0
    assert abs(found["driver_mb_per_trial"]) < 100
    assert [(each["sweep"], each["trials"]) for each in found["sweeps"]] == [
        ("busy", 8), ("few", 10), ("many", 20), ("again", 10)
    ]  # fmt: skip
    assert not list(tmp_path.rglob(SCRATCH))  # records and what Tune wrote are gone
