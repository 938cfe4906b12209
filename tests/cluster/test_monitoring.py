"""The dashboard, and the metrics that it asks for: a real run is watched, and what a panel asks for must be there.

A run of the whole job in miniature, on a Ray of our own, whose metrics endpoint is read as Prometheus reads it.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xtlray.kinds.runner import resolve_job, run_job
from xtlray.store import Store
from xtlray.transfer.gauges import GAUGES, PREFIX, TRIAL_SECONDS

FOLDER = Path(__file__).resolve().parents[2] / "cluster" / "monitoring"
METRIC = re.compile(r"\bray_[a-z0-9_]+\b")
SAMPLE = re.compile(r"^(ray_\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
PATIENCE = 60.0  # seconds
NET = {"name": "elemnet", "hidden": [8, 4]}
TARGETS = ["demo/molar_volume", "demo/work_function"]
METHODS = ["base", "sc-dl-ef"]
JOB: dict[str, Any] = {
    "kind": "pipeline",
    "name": "watched",
    "pretrain": {"dataset": "demo/molar_volume", "net": NET, "epochs": 2, "model": "watched-source"},
    "transfer": {"targets": TARGETS[1:], "net": NET, "seeds": 2, "methods": METHODS},
}


def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
    return value


def asked_for(board: dict[str, Any]) -> dict[str, set[str]]:
    """The metrics that each panel, and each variable, asks for, by its title or name."""
    found = {
        panel["title"]: {name for target in panel["targets"] for name in METRIC.findall(target["expr"])}
        for panel in board["panels"]
        if panel["type"] != "row"
    }
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found[variable["name"]] = set(METRIC.findall(json.dumps(variable["query"])))
    return found


class Endpoint:
    """Reads the metrics endpoint of a Ray again and again, as Prometheus does, and keeps what it has seen.

    Attributes:
        samples: name → labels → the newest value.
    """

    def __init__(self, ray: Any) -> None:
        (node,) = ray.nodes()
        self.url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        self.samples: dict[str, dict[str, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.wait(0.5):
            try:
                page = urllib.request.urlopen(self.url, timeout=5).read().decode()
            except OSError:  # the agent that answers starts after Ray
                continue
            for name, labels, value in SAMPLE.findall(page):
                self.samples.setdefault(name, {})[labels] = float(value)

    def wait_for(self, names: set[str], seconds: float = PATIENCE) -> None:
        """Until all have been seen; fails naming those that have not."""
        end = time.monotonic() + seconds
        while missing := names - {*self.samples}:
            assert time.monotonic() < end, f"nobody exports {sorted(missing)}"
            time.sleep(0.1)

    def values(self, name: str, **labels: str) -> list[float]:
        """The newest value of each series of that name with these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return [value for text, value in self.samples.get(name, {}).items() if all(each in text for each in wanted)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, local_ray: Any) -> Iterator[tuple[Endpoint, str]]:
    """The endpoint as it was seen while a run went on, and until it has told of all; the run's id."""
    store = Store.open(str(tmp_path_factory.mktemp("watched") / "store"))
    with Endpoint(local_ray) as endpoint:
        finished = run_job(store, resolve_job(store, JOB, "the test", lambda text: None), False, lambda text: None)
        assert finished.status == "done"
        endpoint.wait_for(set.union(*asked_for(dashboard()).values()))
        yield endpoint, finished.run


@pytest.mark.ray
def test_every_metric_that_a_panel_asks_for_is_exported(watched: tuple[Endpoint, str]) -> None:
    endpoint, run = watched
    for title, names in asked_for(dashboard()).items():
        assert names, title
        assert names <= set(endpoint.samples), title
        for name in names:
            if "xtlray" in name:
                assert any(f'run="{run}"' in labels for labels in endpoint.samples[name]), name


@pytest.mark.ray
def test_a_metric_that_nobody_exports_would_be_noticed(watched: tuple[Endpoint, str]) -> None:
    board = dashboard()
    board["panels"][1]["targets"][0]["expr"] = "sum(ray_xtlray_transfer_trials_finished{run=~'$run'})"
    with pytest.raises(AssertionError, match=r"nobody exports \['ray_xtlray_transfer_trials_finished'\]"):
        watched[0].wait_for(set.union(*asked_for(board).values()), seconds=0)


@pytest.mark.ray
def test_what_the_metrics_of_a_sweep_say(watched: tuple[Endpoint, str]) -> None:
    endpoint, run = watched
    done = dict.fromkeys(METHODS, 2.0)
    end = time.monotonic() + PATIENCE

    def of(name: str, key: str, values: Any) -> dict[str, float]:
        return {
            each: max(endpoint.values(f"ray_{PREFIX}{name}", run=run, **{key: each}), default=-1.0) for each in values
        }

    while of("trials_done", "method", METHODS) != done or sum(of("trials_running", "method", METHODS).values()):
        assert time.monotonic() < end, endpoint.samples
        time.sleep(0.1)
    assert of("trials_failed", "method", METHODS) == dict.fromkeys(METHODS, 0.0)
    assert endpoint.values(f"ray_{PREFIX}trials_planned", run=run) == [4.0]
    assert of("best_val_error", "target", TARGETS[1:])[TARGETS[1]] > 0
    assert of("rows_per_second", "method", METHODS)["sc-dl-ef"] > 0
    assert of(f"{TRIAL_SECONDS}_count", "method", METHODS) == done


def test_the_dashboard_shows_all_that_is_exported_of_a_sweep() -> None:
    asked = set.union(*asked_for(dashboard()).values())
    ours = {f"ray_{PREFIX}{name}" for name in GAUGES} | {f"ray_{PREFIX}{TRIAL_SECONDS}_bucket"}
    assert ours <= asked


def test_the_dashboard_is_one_that_grafana_can_lay_out() -> None:
    """Panels have numbers of their own, lie within the grid, do not cover each other, and take the chosen source."""
    board = dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert target["expr"].count("(") == target["expr"].count(")")
            assert ("xtlray" in target["expr"]) == ('{run=~"$run"}' in target["expr"])


def test_prometheus_is_told_where_ray_lists_its_nodes() -> None:
    value = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = value["scrape_configs"]
    (files,) = job["file_sd_configs"]
    assert "/tmp/ray/prom_metrics_service_discovery.json" in files["files"]
    for name in files["files"]:  # as Prometheus takes patterns: one star, in the last part
        assert re.fullmatch(r"[^*]*(\*[^/]*)?\.json", name)


def test_the_monitor_asks_the_pods_of_kuberay() -> None:
    value = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())
    assert (value["apiVersion"], value["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert value["spec"]["selector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert [each["port"] for each in value["spec"]["podMetricsEndpoints"]] == ["metrics"]
