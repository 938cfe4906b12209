"""Whole jobs on a real S3 server: the same results as in a folder, two sweeps at once, a server that falls silent."""

import json
import time

import pytest
from deltalake import DeltaTable

from tests.faults.harness import records_of, wait_for
from tests.faults.test_pipeline import JOB as PIPELINE
from tests.faults.test_pipeline import TARGETS
from tests.faults.test_sweep import JOB as SWEEP
from xtlray.registry.versions import versions_of
from xtlray.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(500)]
SHORT = ("--set", "targets=[demo/bulk_modulus, demo/molar_volume]")


@pytest.fixture
def store(s3_store):
    return s3_store


def table(store, name):
    url, options = store.delta(f"leaderboard/{name}")
    return DeltaTable(url, storage_options=options).to_pyarrow_table().to_pylist()


def outcome_of(store, run):
    """What a run chose and came to, figures to six digits: batches of two threads differ in the last."""
    folder = f"runs/{run}/results/transfer"
    results = [store.get_json(f"{folder}/{name}") for name in store.children(folder)]
    figures = ("val_mae", "test_mae", "test_mae_spread")
    return {
        (r["target"], r["method"]): (
            r["config"],
            r["trials"],
            [r[name] and float(f"{r[name]:.6g}") for name in figures],
        )
        for r in results
    }


def test_the_whole_job_gives_the_same_as_in_a_folder(start, job, store, tmp_path):
    path = job(PIPELINE)
    folder = Store.open(str(tmp_path / "folder"))
    there = start("run", path).done(300)
    here = start("run", path, "--store", folder.url).done(300)
    assert (there["run"], there["models"]) == (here["run"], here["models"])
    assert outcome_of(store, there["run"]) == outcome_of(folder, here["run"])
    assert {f"{row['target']}": row["model"] for row in table(store, "results") if row["model"]} == {
        name: f"{name}@1" for name in TARGETS
    }
    for name in ["source", *TARGETS]:
        checked = start("models", "verify", name)
        assert checked.wait() == 0, checked.said


def test_two_whole_sweeps_at_once_one_of_them_with_two_drivers(start, job, store):
    path = job(SWEEP)
    programs = [
        start("run", path, *SHORT),
        start("run", path, *SHORT),
        start("run", path, *SHORT, "--set", "name=other"),
    ]
    answers = [program.done(400) for program in programs]
    assert answers[0]["run"] == answers[1]["run"] != answers[2]["run"]
    for run in {answer["run"] for answer in answers}:
        assert len(store.children(f"runs/{run}/trials")) == 2 * 2 * 2
    board = start("leaderboard")
    assert board.wait() == 0, board.said
    assert len(json.loads(board.out.read_text())) == 2 * 2 * 2
    trials = [(row["run"], row["trial"]) for row in table(store, "trials")]
    records = [
        (run, name[: -len(".json")]) for run in store.children("runs") for name in store.children(f"runs/{run}/trials")
    ]
    assert sorted(trials) == sorted(records)
    for target in ("demo/bulk_modulus", "demo/molar_volume"):
        assert versions_of(store, target) == [1, 2]  # one of each run


def test_a_server_that_is_silent_for_twenty_seconds_in_a_sweep(start, job, store, ceph):
    program = start("run", job(SWEEP), *SHORT)
    wait_for(lambda: records_of(store), "a record")
    with ceph.frozen():
        time.sleep(20)  # the silence itself: nothing comes of it that could be awaited
        assert program.popen.poll() is None
    answer = program.done(300)
    assert (answer["status"], answer["attempt"]) == ("done", 1)
    records = [json.loads(value) for value in records_of(store).values()]
    assert [record["error"] for record in records if record["status"] != "ok"] == []
    assert len(records) == 2 * 2 * 2
    for target in ("demo/bulk_modulus", "demo/molar_volume"):
        assert versions_of(store, target) == [1]
