"""Many processes fold the same runs into the same tables at once, some of them are killed: every row is there once."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable

from tests.faults.harness import wait_for
from tests.leaderboard.runs import fill, finish
from xtlray.leaderboard.folding import PART

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

RUNS = [f"run-{n:08x}" for n in range(3 * PART)]  # so that each process has three commits to make in each table
TABLES = {"trials": "trial", "results": "result"}


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    from xtlray.store import Store

    if request.param == "s3":
        return request.getfixturevalue("s3_store")
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def runs(store):
    def make(run):
        fill(store, run, trials=2)
        finish(store, run)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, RUNS))
    return RUNS


def rows(store, name):
    url, options = store.delta(f"leaderboard/{name}")
    found = DeltaTable(url, storage_options=options).to_pyarrow_table(columns=["run", TABLES[name]]).to_pylist()
    return sorted((row["run"], row[TABLES[name]]) for row in found)


def commits(store, name):
    return [key for key in store.list(f"leaderboard/{name}/_delta_log") if key.endswith(".json")]


def all_once(store, runs):
    expected = {"trials": ("t0", "t1"), "results": ("base.json", "sc-dl-ef.json")}
    return all(rows(store, name) == [(run, row) for run in runs for row in expected[name]] for name in TABLES)


def test_processes_at_once_of_which_some_are_killed(start, store, runs):
    programs = [start("leaderboard") for _ in range(5)]
    for program, reached in ((programs[0], 1), (programs[1], 3)):  # when tables are there, and when rows are
        wait_for(lambda reached=reached: len(commits(store, "trials")) >= reached, "commits")
        program.kill_all()
    for program in programs[2:]:
        assert program.wait() == 0, program.said
        assert len(json.loads(program.out.read_text())) == 2 * len(runs)
    assert all_once(store, runs)

    once_more = start("leaderboard")
    assert once_more.wait() == 0
    assert once_more.said == ""  # nothing was left to add
    assert json.loads(once_more.out.read_text()) == json.loads(programs[2].out.read_text())


def test_a_rebuild_among_those_who_fold(start, store, runs):
    programs = [start("leaderboard", *words) for words in ((), ("--rebuild",), ("--rebuild",), ())]
    wait_for(lambda: len(commits(store, "results")) >= 1, "commits")
    programs[1].kill_all()
    for program in programs[:1] + programs[2:]:
        assert program.wait() == 0, program.said
    assert start("leaderboard").wait() == 0
    assert all_once(store, runs)
