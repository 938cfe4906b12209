"""Two minutes of the chaos benchmark: a sweep of which something is killed every half minute."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

JOB = Path(__file__).resolve().parents[2] / "jobs" / "bench" / "chaos.yaml"
SHORT = {"minutes": 2, "calm_minutes": 0.25, "victims": "[trial, worker, driver, head]"}


def test_two_minutes_of_chaos_lose_nothing_and_double_nothing(start):
    sets = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    program = start("run", str(JOB), *sets)
    found = program.done(1400)["bench"]
    assert (found["lost"], found["doubled"], found["changed"], found["failed"]) == (0, 0, 0, 0)
    assert found["records"] == found["trials"] == 2 * 60 * 6 / 4
    assert {"trial", "worker", "driver"} <= {kill["killed"] for kill in found["kills"]}
    assert all(kill["processes"] for kill in found["kills"])
    assert 1 <= found["slowdown"] < 10
    assert program.said.count(" s: killed ") == len(found["kills"]) >= 4
    assert program.processes() == []
