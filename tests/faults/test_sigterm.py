"""SIGTERM to a plain `xtlray run`, as a queue or a container sends it: what is finished is kept, training too."""

import pytest

from tests.faults.harness import only_run, records_of, wait_for, within_an_epoch
from tests.faults.test_pretrain import BATCH, SLOWLY, history_of, steps_of_an_epoch
from tests.faults.test_pretrain import JOB as PRETRAIN
from tests.faults.test_sweep import JOB as SWEEP
from tests.faults.test_sweep import started

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

WORKERS = ("--set", "workers=2")


def ends_as_told(program):
    program.terminate()
    assert program.wait(40) == 143
    wait_for(lambda: not program.processes(), "the end of its processes", 90)
    assert "To go on, give the same command again" in program.said
    assert program.said.splitlines()[-1] == "terminated"
    assert "Traceback" not in program.said


def test_pretraining_leaves_a_checkpoint_in_the_middle_of_an_epoch_and_goes_on_there(start, job, store):
    path, steps, all_steps = job(PRETRAIN), [], steps_of_an_epoch(store)
    for attempt in (1, 2):
        program = start("run", path, *SLOWLY, *WORKERS)
        wait_for(
            lambda n=attempt: only_run(store) and store.exists(f"{only_run(store)}/attempts/{n}/loader.json"),
            "the start of training",
        )
        ends_as_told(program)
        kept = within_an_epoch(store, attempt)
        assert kept is not None, program.said
        assert kept["row"] == BATCH * kept["step"]
        steps.append(kept["step"])
    assert 0 < steps[0] < steps[1] < all_steps
    assert f"{BATCH * steps[0]:,} rows into the next" in program.said

    last = start("run", path, *SLOWLY, *WORKERS)
    assert last.done()["attempt"] == 3
    assert history_of(store) == [(1, all_steps)]


def test_a_sweep_keeps_what_is_finished(start, job, store):
    path = job(SWEEP)
    first = start("run", path)
    wait_for(lambda: len(records_of(store)) >= 2, "two records")
    ends_as_told(first)
    before = records_of(store)
    assert start("run", path).done()["attempt"] == 2
    assert started(store, 2) == set(records_of(store)) - set(before)


def test_while_ray_starts(start, job, store):
    program = start("run", job(SWEEP))
    wait_for(lambda: program.processes("gcs_server"), "the first process of Ray")
    ends_as_told(program)
