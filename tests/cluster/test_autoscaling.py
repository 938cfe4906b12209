"""A sweep on a Ray that scales itself, on this machine: demand brings nodes up, and the end of it lets them go.

Ray's own autoscaler decides. Its provider of make-believe nodes starts each of them as more of Ray's processes here.
The head is started by hand, with folder, ports and token of its own, and ended by its process id: what Ray offers for
such tests stops every Ray of the machine first.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.ports import free_ports
from tests.faults.harness import TAG, kill, only_run, records_of, tagged, wait_for
from xtlray.store import Store

pytestmark = [pytest.mark.autoscaling, pytest.mark.timeout(600)]

MOST = 2  # worker nodes, of one core each
HEAD = "f" * 51 + "00000"  # how the provider knows the head's node
RAY = str(Path(sys.executable).with_name("ray"))
TARGETS, METHODS = 3, 2
JOB = """
kind: transfer
name: sweep
targets: [demo/bulk_modulus, demo/molar_volume, demo/work_function]
methods: [base, sc-dl-ef]
net: {name: elemnet, hidden: [256, 128]}
seeds: 2
effort: quick
"""


def configuration(address: str) -> dict[str, Any]:
    """A whole file for the autoscaler: a head without cores, workers from none to `MOST`, idle ones go after 6 s."""
    commands = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
                "head_start_ray_commands", "worker_start_ray_commands")  # fmt: skip
    return {
        "cluster_name": "xtlray-tests",
        "max_workers": MOST,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "head_node_id": HEAD,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "docker": {},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": MOST},
        },
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{name: [] for name in commands},
    }


@dataclass(frozen=True)
class Cluster:
    """The running Ray.

    Attributes:
        port: of its GCS; `port + 1` is the agent's on the head.
        environment: what a program of ours has to be given to use it.
    """

    port: int
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def workers(self) -> int | None:
        """Worker nodes that are up, as `ray status` has them; None while it has no answer."""
        done = subprocess.run(
            [RAY, "status", f"--address={self.address}"],
            capture_output=True, text=True, env={**os.environ, **self.environment}, timeout=60,
        )  # fmt: skip
        active = re.search(r"Active:\n(.*?)\nPending:", done.stdout, flags=re.DOTALL)
        if not active or "ray.head.default" not in active[1]:
            return None
        counts = re.findall(r"^ *(\d+) worker$", active[1], flags=re.MULTILINE)
        return sum(map(int, counts))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    port = free_ports(10)
    file, log, folder = tmp_path / "autoscaler.yaml", tmp_path / "head.log", Path(f"/tmp/xtlray-scale-{os.getpid()}")
    file.write_text(yaml.safe_dump(configuration(f"127.0.0.1:{port}")))
    tag = uuid.uuid4().hex
    ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), TAG: tag, "SPT_NOENV": "1"}
    head = {
        **ours,
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_NODE_TYPE_NAME": "ray.head.default",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_METRIC_PORT": str(port + 2),
        "DASHBOARD_METRIC_PORT": str(port + 3),
        "OMP_NUM_THREADS": "1",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--num-cpus=0", "--node-ip-address=127.0.0.1", f"--port={port}",
             f"--dashboard-agent-listen-port={port + 1}", "--include-dashboard=false", "--disable-usage-stats",
             f"--ray-client-server-port={port + 4}", f"--temp-dir={folder}", f"--autoscaling-config={file}"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, **head}, start_new_session=True,
        )  # fmt: skip
    found = Cluster(port, ours)
    try:
        wait_for(lambda: process.poll() is None and found.workers() == 0, f"a head alone; see {log}")
        yield found
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        for each in tagged(tag):  # nodes that the autoscaler had up: they would notice by themselves, a minute later
            kill(each)
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_sweep_brings_nodes_up_and_its_end_lets_them_go(cluster: Cluster, store: Store, tmp_path: Path) -> None:
    # What Kubernetes asks a node for its health is answered without the token, and nothing else is.
    agent = f"http://127.0.0.1:{cluster.port + 1}"
    assert status_of(f"{agent}/api/healthz") == 200
    assert status_of(f"{agent}/api/job_agent/jobs/none/logs") == 401

    job, said = tmp_path / "job.yaml", tmp_path / "said"
    job.write_text(JOB)
    with said.open("w") as out:
        program = subprocess.Popen(
            [sys.executable, "-m", "xtlray.cli.main", "--store", store.url, "run", str(job)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, **cluster.environment, "RAY_ADDRESS": cluster.address, "XTLRAY_CLUSTER_GROWS": "1",
                 "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    seen: list[int] = []

    def watch(until: int) -> bool:
        count = cluster.workers()
        if count is not None:
            seen.append(count)
        return count == until

    try:
        wait_for(lambda: watch(MOST) or program.poll() is not None, f"nodes to come up; see {said}", 200)
        assert seen[-1] == MOST, said.read_text()
        assert program.wait(300) == 0, said.read_text()
        assert len(records_of(store)) > 10
        assert len(store.children(f"{only_run(store)}/results/transfer")) == TARGETS * METHODS
        wait_for(lambda: watch(0), "nodes to go", 120)
    finally:
        program.kill()
    print(f"worker nodes, as they were seen: {seen}")
