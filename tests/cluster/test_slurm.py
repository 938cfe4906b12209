"""The Slurm script on a real Slurm: two nodes of one core each, on this machine."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import slurm_machine
from tests.cluster.slurm_machine import Slurm
from tests.faults.harness import TAG, kill, only_run, steps_of, tagged, wait_for
from xtlray.registry.versions import ModelRef, versions_of
from xtlray.store import Store

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

EPOCHS, PER_EPOCH = 60, 8  # 16,111 training rows in batches of 2048
# Two workers of one core: one on each node.
JOB = f"""
kind: pretrain
name: source
dataset: demo/formation_enthalpy
net: {{name: elemnet, hidden: [64, 32]}}
epochs: {EPOCHS}
batch: 2048
lr: 1.0e-3
workers: 2
cpus_per_worker: 1
"""
SMALL = ("--cpus-per-task=1", "--mem=0")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    try:
        with slurm_machine.running(tmp_path_factory.mktemp("slurm")) as found:
            yield found
    except slurm_machine.NoSlurmError as error:
        pytest.skip(f"needs Slurm: {error}")


@pytest.fixture
def environment(store: Store) -> Iterator[dict[str, str]]:
    """What a user sets, and a mark by which the processes of a job are found. What is left of them is killed."""
    tag = uuid.uuid4().hex
    yield {
        TAG: tag,
        "XTLRAY_STORE": store.url,
        "XTLRAY_BIN": str(Path(sys.executable).parent),
        "OMP_NUM_THREADS": "1",
        "SPT_NOENV": "1",  # Ray's processes rename themselves; without it they write over their environment
    }
    for process in tagged(tag):
        kill(process)


@pytest.fixture
def submit(repo_root: Path, tmp_path: Path) -> list[str]:
    """The words of an `sbatch` that runs the job file."""
    (tmp_path / "job.yaml").write_text(JOB)
    return [*SMALL, str(repo_root / "cluster" / "slurm" / "xtlray.sbatch"), "job.yaml"]


def wait_while_running(slurm: Slurm, number: str, condition: Callable[[], Any], what: str, log: Path) -> None:
    """Wait for what a job does; fails at once, with its log, where the job has ended."""

    def met() -> bool:
        state = slurm.state(number)
        assert state in ("PENDING", "CONFIGURING", "RUNNING"), f"{state}: {log.read_text()}"
        return bool(condition())

    wait_for(met, f"{what}; see {log}", 300)


def last_step(store: Store) -> int:
    """Of the first attempt's checkpoints, the older of which are deleted as newer ones come."""
    return max(steps_of(store, 1), default=0)


def folder_of(number: str, attempt: int) -> Path:
    return Path(f"/tmp/xtlray-{number}-{attempt}")


def refused_without_a_token(address: str) -> bool:
    """Whether Ray at that address turns away who has no token."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run(
        [str(ray), "health-check", f"--address={address}"],
        capture_output=True, text=True, env={**environment, "RAY_AUTH_MODE": "disabled"}, timeout=120,
    )  # fmt: skip
    return done.returncode != 0 and "nauth" in done.stdout + done.stderr


def test_a_job_that_is_preempted_goes_back_into_the_queue_and_goes_on(
    slurm: Slurm, submit: list[str], store: Store, tmp_path: Path, environment: dict[str, str]
) -> None:
    number = slurm.submit(*submit, cwd=tmp_path, **environment)
    log = tmp_path / f"xtlray-{number}.log"
    wait_while_running(slurm, number, lambda: only_run(store) and last_step(store) >= 3 * PER_EPOCH, "epochs", log)
    folder = folder_of(number, 0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    address = (folder / "ray" / "ray_current_cluster").read_text().strip()
    assert refused_without_a_token(address)

    urgent = slurm.submit("--partition=high", "--nodes=2", "--wrap=sleep 3", cwd=tmp_path)
    wait_for(lambda: slurm.state(urgent) == "COMPLETED", f"the urgent job; see {log}", 180)
    said = log.read_text()
    assert "the machines are needed" in said
    assert "back into the queue" in said
    reached = last_step(store)
    assert slurm.state(number) in ("PENDING", "CONFIGURING", "RUNNING")
    wait_for(lambda: not folder.exists(), "the folder of the first attempt to go", 30)
    if slurm.state(number) == "PENDING":
        slurm.ask("scontrol", "update", f"JobId={number}", "StartTime=now")  # it would wait two minutes

    wait_for(lambda: slurm.state(number) == "COMPLETED", f"the end; see {log}", 400)
    assert slurm.job(number)["Restarts"] == "1"
    resumed = re.search(r"attempt 2\n(?s:.*)going on after epoch (\d+) of", log.read_text())
    assert resumed
    assert int(resumed[1]) >= reached // PER_EPOCH >= 3
    assert versions_of(store, "source") == [1]
    assert [entry["epoch"] for entry in ModelRef(store, "source", 1).card().history] == list(range(1, EPOCHS + 1))
    wait_for(lambda: not tagged(environment[TAG]), "the end of all its processes", 60)
    assert not folder_of(number, 1).exists()


def test_a_job_that_is_told_to_stop_keeps_what_it_has_and_stays_away(
    slurm: Slurm, submit: list[str], store: Store, tmp_path: Path, environment: dict[str, str]
) -> None:
    number = slurm.submit(*submit, cwd=tmp_path, **environment)
    log = tmp_path / f"xtlray-{number}.log"
    wait_while_running(slurm, number, lambda: only_run(store) and steps_of(store, 1), "a checkpoint", log)
    slurm.ask("scancel", "--batch", "--signal=TERM", number)
    wait_for(lambda: slurm.state(number) == "FAILED", f"the end; see {log}", 120)
    assert "told to stop" in log.read_text()
    assert "back into the queue" not in log.read_text()
    wait_for(lambda: not tagged(environment[TAG]), "the end of all its processes", 60)
    assert not folder_of(number, 0).exists()
    assert store.numbers("models/source") == []


def test_a_job_that_fails_is_not_tried_again(
    slurm: Slurm, submit: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "job.yaml").write_text("kind: nothing\n")
    number = slurm.submit(*submit, cwd=tmp_path, **environment)
    wait_for(lambda: slurm.state(number) == "FAILED", "the end", 200)
    assert slurm.job(number)["ExitCode"] == "2:0"
    assert slurm.job(number)["Restarts"] == "0"
    wait_for(lambda: not tagged(environment[TAG]), "the end of all its processes", 60)
