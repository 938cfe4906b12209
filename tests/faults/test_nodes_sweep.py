"""Sweeps on three nodes: one of them is lost, another joins; the driver's own is lost, and the job submitted again."""

import json

import pytest

from tests.faults.conftest import three_nodes
from tests.faults.harness import records_of, wait_for
from tests.faults.test_sweep import JOB, TARGETS, choices
from xtlray.bench.processes import TRIAL_AT_WORK
from xtlray.registry.versions import versions_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TRIALS = 3 * 2 * 2


def all_done_once(store, run):
    """The records of a run by trial id; each trial has left one, and none has failed."""
    records = [json.loads(store.get(f"runs/{run}/trials/{name}")) for name in store.children(f"runs/{run}/trials")]
    assert len(records) == len({record["trial"] for record in records}) == TRIALS
    assert [record["error"] for record in records if record["status"] != "ok"] == []


def test_a_worker_node_dies_and_another_joins(start, job, store, nodes):
    path = job(JOB)
    program = start("run", path, cluster=nodes)
    wait_for(lambda: len(records_of(store)) >= 2, "two records", 180)
    node = wait_for(lambda: next((n for n in nodes.workers if n.processes(TRIAL_AT_WORK)), None), "a trial at work")
    before = records_of(store)
    nodes.lose(node)
    joined = nodes.join(1)
    answer = program.done(400)
    assert (answer["status"], answer["attempt"]) == ("done", 1)
    all_done_once(store, answer["run"])
    after = records_of(store)
    assert {trial: after[trial] for trial in before} == before

    again = start("run", path, "--again", cluster=nodes)
    wait_for(lambda: joined.processes(TRIAL_AT_WORK), "a trial on the node that joined", 180)
    undisturbed = again.done(400)
    assert choices(store, answer["run"]) == choices(store, undisturbed["run"])


def test_the_drivers_node_dies_and_the_same_job_picks_up_on_another_cluster(start, job, store):
    path = job(JOB)
    with three_nodes() as nodes:
        first = start("run", path, cluster=nodes)
        wait_for(lambda: len(records_of(store)) >= 3, "three records", 180)
        nodes.head.kill()
        first.kill_all()
        before = records_of(store)
    with three_nodes() as others:
        answer = start("run", path, cluster=others).done(400)
    assert (answer["status"], answer["attempt"]) == ("done", 2)
    all_done_once(store, answer["run"])
    after = records_of(store)
    assert {trial: after[trial] for trial in before} == before
    for target in TARGETS:
        assert store.numbers(f"models/{target}") == versions_of(store, target) == [1]
