"""Jobs on a real cluster that has a token and no xtlray: sent, found again, followed, lost and stopped."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.faults import head as heads
from tests.faults.conftest import Start
from tests.faults.harness import Program, only_run, wait_for
from tests.faults.head import Head
from xtlray import provenance
from xtlray.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

Job = Callable[[str], str]
# Trains with Ray Train, sweeps with Ray Tune, on data and a model that come with the package.
JOB = """
kind: pipeline
name: tiny
pretrain:
  dataset: demo/formation_enthalpy
  net: {name: elemnet, hidden: [16, 8]}
  epochs: 1
  batch: 4096
  cpus_per_worker: 1
  model: tiny-source
transfer:
  source: [builtin/oqmd, tiny-source]
  targets: [demo/bulk_modulus]
  methods: [base, tl-ml-featextr]
  seeds: 1
  regressors: {quick: {ridge: all}}
"""
LONG = """
kind: pretrain
name: long
dataset: demo/formation_enthalpy
net: {name: elemnet, hidden: [16, 8]}
epochs: 5000
batch: 4096
cpus_per_worker: 1
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One head for all tests of this module."""
    if not sys.platform.startswith("linux"):
        pytest.skip("finds the processes to kill in Linux' /proc")
    with heads.running() as running:
        yield running


@pytest.fixture
def cluster(head: Head, no_cluster: pytest.MonkeyPatch) -> Head:
    """That head, with its address and its token in the environment, as a user has them."""
    no_cluster.setenv("RAY_API_SERVER_ADDRESS", head.url)
    no_cluster.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))
    return head


def submit(start: Start, store: Store, path: str, *words: str) -> Program:
    assert store.local_path is not None
    return start("submit", path, "--shared-path", str(store.local_path.parent), *words)


def test_the_cluster_has_no_xtlray(head: Head) -> None:
    """Else the other tests would show nothing."""
    command = [sys.executable, "-c", "import ray, obstore; import xtlray"]
    done = subprocess.run(command, env=head.environment, cwd="/", capture_output=True, text=True, check=False)
    assert "No module named 'xtlray'" in done.stderr


def test_what_is_refused_before_anything_is_sent(
    cluster: Head, start: Start, job: Job, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = job(LONG)
    local = start("submit", path)
    assert local.wait() == 2
    assert "The cluster cannot reach the store" in local.said

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    without = submit(start, store, path)
    assert without.wait() == 2
    assert "The cluster asks for a token" in without.said

    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    wrong = submit(start, store, path)
    assert wrong.wait() == 2
    assert "The cluster refuses the token" in wrong.said
    for program in (local, without, wrong):
        assert "Traceback" not in program.said
    assert store.list("") == []


def test_a_job_runs_there_once_and_is_followed_through_a_cut(
    cluster: Head, start: Start, job: Job, store: Store
) -> None:
    path = job(JOB)
    planned = start("run", path, "--dry-run").done()["run"]
    with heads.way_to(cluster.port) as way:
        first = submit(start, store, path, "--follow", "--address", way.url)
        wait_for(lambda: "published tiny-source@1" in first.said or first.popen.poll() is not None, "the source model")
        again = submit(start, store, path).done()
        assert (again["id"], again["status"], again["submitted"]) == (f"{planned}-1", "running", False)
        way.cut()
        answer = first.done()
    assert (answer["id"], answer["run"], answer["status"], answer["exit_code"]) == (
        f"{planned}-1",
        planned,
        "succeeded",
        0,
    )
    assert "packages are as on the submitting side" in first.said
    assert re.search(r"code: \d+ KB, (sent|on the cluster already)", first.said)
    lines = [line for line in first.said.splitlines() if "published tiny-source@1" in line]
    assert len(lines) == 1, "a line of the log is shown once"

    assert only_run(store) == f"runs/{planned}"
    outcome = store.get_json(f"runs/{planned}/outcome.json")
    assert (outcome["status"], outcome["models"]) == ("done", ["tiny-source@1", "demo/bulk_modulus@1"])
    assert store.get_json(f"runs/{planned}/attempts/1/environment.json")["commit"] == provenance.commit()

    done = submit(start, store, path)
    assert done.done()["id"] == f"{planned}-1"
    assert "is done already" in done.said


def test_an_answer_that_is_lost_a_stop_and_two_at_once(cluster: Head, start: Start, job: Job, store: Store) -> None:
    path = job(LONG)
    with heads.way_to(cluster.port) as way:
        lost = submit(start, store, path, "--address", way.url)
        way.on_answer = lost.popen.kill
        assert lost.wait() == -9
        assert lost.out.read_text() == ""
    found = submit(start, store, path).done()
    assert not found["submitted"]
    name = found["id"]
    assert name == f"{found['run']}-1"
    assert [each.id for each in cluster.jobs.all() if each.run == found["run"]] == [name]

    follower = start("jobs", "logs", name, "--follow")
    wait_for(lambda: "epoch" in follower.said, "an epoch in the log")
    follower.interrupt()
    assert follower.wait(20) == 130
    assert f"xtlray jobs logs {name} --follow" in follower.said
    assert "Traceback" not in follower.said
    assert cluster.jobs.get(name).status == "running"

    checkpoints = f"runs/{found['run']}/attempts/1/checkpoints"
    wait_for(lambda: len(store.children(checkpoints)) > 1, "a checkpoint")
    assert start("jobs", "stop", name).done()["status"] == "stopped"
    printed = start("jobs", "logs", name).done()["log"]
    assert "To go on, give the same command again" in printed  # it was told, and not killed

    racers = [submit(start, store, path) for _ in range(2)]
    second, other = sorted((racer.done() for racer in racers), key=lambda answer: not answer["submitted"])
    assert (second["id"], second["submitted"]) == (f"{found['run']}-2", True)
    assert (other["id"], other["submitted"]) == (second["id"], False)
    wait_for(lambda: store.numbers(f"runs/{found['run']}/attempts") == [1, 2], "the second attempt")
    assert start("jobs", "stop", second["id"]).done()["status"] == "stopped"
