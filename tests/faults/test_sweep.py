"""Sweeps whose processes die or are interrupted: a trial that has its record never runs again, the choices stay."""

import json

import pytest

from tests.faults.harness import kill, only_run, records_of, wait_for
from xtlray.bench.processes import TRIAL_AT_WORK
from xtlray.registry.versions import versions_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

TARGETS = ["demo/bulk_modulus", "demo/molar_volume", "demo/work_function"]
JOB = f"""
kind: transfer
name: sweep
targets: [{", ".join(TARGETS)}]
methods: [base, sc-dl-ef]
net: {{name: elemnet, hidden: [256, 128]}}
seeds: 2
effort: quick
"""


def choices(store, run):
    folder = f"runs/{run}/results/transfer"
    results = [store.get_json(f"{folder}/{name}") for name in store.children(folder)]
    return {(r["target"], r["method"]): (r["config"], r["trials"], r["status"]) for r in results}


def started(store, attempt):
    """Ids of the trials that Tune has started in an attempt."""
    folder = f"{only_run(store)}/attempts/{attempt}/ray"
    names = [name for stage in store.children(folder) for name in store.children(f"{folder}/{stage}")]
    return {name for name in names if name.startswith("demo.")}


def test_killed_altogether_and_finished_by_another_attempt(start, job, store):
    path = job(JOB)
    first = start("run", path)
    wait_for(lambda: len(records_of(store)) >= 4, "four records")
    first.kill_all()
    before = records_of(store)

    answer = start("run", path).done()
    after = records_of(store)
    assert (answer["status"], answer["attempt"]) == ("done", 2)
    assert {trial: after[trial] for trial in before} == before
    assert {json.loads(after[trial])["attempt"] for trial in set(after) - set(before)} == {2}
    assert started(store, 2) == set(after) - set(before)
    for target in TARGETS:
        assert store.numbers(f"models/{target}") == versions_of(store, target) == [1]

    undisturbed = start("run", path, "--again").done()
    assert undisturbed["run"] == f"{answer['run']}-2"
    assert choices(store, answer["run"]) == choices(store, undisturbed["run"])


def test_a_trial_whose_process_is_killed_runs_again(start, job, store):
    program = start("run", job(JOB))
    wait_for(lambda: records_of(store), "a record")
    for actor in wait_for(lambda: program.processes(TRIAL_AT_WORK), "a trial at work"):
        kill(actor)
    answer = program.done()
    assert (answer["status"], answer["attempt"]) == ("done", 1)
    records = [json.loads(value) for value in records_of(store).values()]
    assert [record["error"] for record in records if record["status"] != "ok"] == []
    assert len(records) == 3 * 2 * 2
    errors = [key for key in store.list(f"{only_run(store)}/attempts/1/ray") if key.endswith("error.txt")]
    assert errors  # the kill did hit a trial


def test_a_trial_whose_process_dies_every_time_is_a_record_and_the_sweep_goes_on(start, job, store):
    doomed, other = TARGETS[:2]
    program = start("run", job(JOB), "--set", f"targets=[{doomed}, {other}]", "--set", "seeds=1")
    killed = set()
    while program.popen.poll() is None:
        for actor in program.processes(TRIAL_AT_WORK):
            if actor.folder.startswith("demo.bulk_modulus--sc-dl-ef"):
                kill(actor)
                killed.add(actor.pid)
    answer = program.done()
    assert (answer["status"], answer["models"]) == ("done", [f"{doomed}@1", f"{other}@1"])
    records = {(r["target"], r["method"]): r for r in map(json.loads, records_of(store).values())}
    assert {arm: record["status"] for arm, record in records.items()} == {
        (doomed, "base"): "ok",
        (doomed, "sc-dl-ef"): "failed",
        (other, "base"): "ok",
        (other, "sc-dl-ef"): "ok",
    }
    assert records[doomed, "sc-dl-ef"]["error"] == "the trial's process died 3 times"
    assert len(killed) == 3


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(start, job, store):
    path = job(JOB)
    first = start("run", path)
    wait_for(lambda: len(records_of(store)) >= 2, "two records")
    first.interrupt()
    assert first.wait(20) == 130
    wait_for(lambda: not first.processes(), "the end of its processes", 10)
    assert "To go on, give the same command again" in first.said
    assert "Traceback" not in first.said
    before = records_of(store)

    assert start("run", path).done()["attempt"] == 2
    assert started(store, 2) == set(records_of(store)) - set(before)
