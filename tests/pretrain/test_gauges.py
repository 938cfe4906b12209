"""A pretraining's metrics where Prometheus would fetch them: at the metrics endpoint of the worker's node."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any

import pytest

from xtlray.pretrain.gauges import Gauges

pytestmark = pytest.mark.ray
SAMPLE = re.compile(r"^ray_(xtlray_pretrain_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
PATIENCE = 60.0  # seconds


class Worker:
    """What tells of its epochs, as the first worker of a training does."""

    def __init__(self, run: str) -> None:
        self.gauges = Gauges(run)

    def tell(self, entry: dict[str, Any]) -> None:
        self.gauges.tell(entry)


def samples(ray: Any, run: str) -> dict[str, float]:
    """The gauges of a run as they stand at the endpoint."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        page = urllib.request.urlopen(url, timeout=5).read().decode()
    except OSError:  # the agent that answers starts after Ray
        return {}
    return {name: float(value) for name, tags, value in SAMPLE.findall(page) if f'run="{run}"' in tags}


def test_each_gauge_is_at_the_endpoint_with_its_run(local_ray: Any) -> None:
    worker = local_ray.remote(num_cpus=0)(Worker).remote("oqmd-1a2b3c4d")
    local_ray.get(worker.tell.remote({"epoch": 3, "rows": 1000, "seconds": 2.0, "loss": 0.5, "val": 0.25}))
    expected = {
        "xtlray_pretrain_rows_per_second": 500.0,
        "xtlray_pretrain_loss": 0.5,
        "xtlray_pretrain_val": 0.25,
        "xtlray_pretrain_epoch": 3.0,
    }
    end = time.monotonic() + PATIENCE
    while (found := samples(local_ray, "oqmd-1a2b3c4d")) != expected:
        assert time.monotonic() < end, found
        time.sleep(0.2)
