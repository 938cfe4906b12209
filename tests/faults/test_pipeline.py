"""The whole job, cut off at its seams, and run twice at the same time."""

import json

import pytest

from tests.faults.harness import only_run, records_of, steps_of, wait_for
from xtlray.registry.versions import versions_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(360)]

TARGETS = ["demo/bulk_modulus", "demo/molar_volume"]
JOB = f"""
kind: pipeline
name: whole
pretrain:
  dataset: demo/formation_enthalpy
  net: {{name: elemnet, hidden: [64, 32]}}
  epochs: 3
  batch: 2048
  lr: 1.0e-3
  cpus_per_worker: 1
  model: source
transfer:
  targets: [{", ".join(TARGETS)}]
  methods: [base, sc-dl-ef, tl-finetune, tl-ml-featextr]
  net: {{name: elemnet, hidden: [128, 64]}}
  seeds: 2
  effort: quick
"""
# Ray's two helpers try for a fixed 60 s to tell the dead server that the raylet is dead. They hold no core and no file.
SLOW_TO_DIE = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}


def check_published_once(store):
    for name in ["source", *TARGETS]:
        assert store.numbers(f"models/{name}") == versions_of(store, name) == [1]  # no claim without a model either


def test_killed_between_its_parts_and_again_in_the_sweep(start, job, store):
    path = job(JOB)
    first = start("run", path)
    wait_for(lambda: versions_of(store, "source"), "the source model")
    first.kill_driver()  # alone: Ray must not outlive it
    wait_for(lambda: {p.name for p in first.processes()} <= SLOW_TO_DIE, "the end of what the driver had started", 30)

    second = start("run", path)
    wait_for(lambda: len(records_of(store)) >= 4, "four records")
    second.kill_all()
    before = records_of(store)

    answer = start("run", path).done()
    assert (answer["status"], answer["attempt"]) == ("done", 3)
    assert steps_of(store, 2) == steps_of(store, 3) == []
    after = records_of(store)
    assert {trial: after[trial] for trial in before} == before
    check_published_once(store)
    wait_for(lambda: not first.processes(), "the end of Ray's agents", 90)


def test_two_drivers_on_the_same_job(start, job, store):
    path = job(JOB)
    programs = [start("run", path), start("run", path)]
    answers = [program.done(200) for program in programs]
    assert answers[0]["run"] == answers[1]["run"]
    assert store.children(f"{only_run(store)}/attempts") == ["1", "2"]
    for answer in answers:
        assert (answer["status"], answer["models"]) == ("done", ["source@1", *(f"{name}@1" for name in TARGETS)])
    records = [json.loads(value) for value in records_of(store).values()]
    assert [record["error"] for record in records if record["status"] != "ok"] == []
    check_published_once(store)
    for name in ["source", *TARGETS]:
        checked = start("models", "verify", name)
        assert checked.wait() == 0, checked.said
