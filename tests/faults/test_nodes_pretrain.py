"""Pretraining on three nodes, one of which is lost, or is given notice: it goes on at the last step that was kept."""

import signal
import statistics

import pytest

from tests.faults.conftest import three_nodes
from tests.faults.harness import only_run, steps_of, wait_for, within_an_epoch
from tests.faults.test_pretrain import BATCH, JOB, SLOWLY, WHOLE_HISTORY, final_errors, history_of, steps_of_an_epoch
from xtlray.bench.local_cluster import Node
from xtlray.registry.versions import ModelRef

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

ELASTIC = ("--set", "workers=1-3", "--set", "precision=float32")
NOTICE = 30  # seconds between the notice and the end of a node


def workers_at_the_end(store):
    return len(store.get_json(f"{only_run(store)}/attempts/1/timing.json")["peak_rss_mb"])


def training_node(nodes) -> Node:
    """A worker node on which a worker of the training runs."""
    return next(node for node in nodes.workers if node.processes("ray::RayTrainWorker"))


def test_a_worker_node_dies_and_training_goes_on_with_what_is_left(start, job, store, nodes):
    program = start("run", job(JOB), *ELASTIC, cluster=nodes)
    wait_for(lambda: len(steps_of(store, 1)) >= 2, "two checkpoints", 180)
    nodes.lose(training_node(nodes))
    answer = program.done(300)
    assert (answer["status"], answer["attempt"], answer["models"]) == ("done", 1, ["source@1"])
    assert history_of(store) == WHOLE_HISTORY
    assert workers_at_the_end(store) == 2

    undisturbed = final_errors(store, range(5))
    spread = statistics.stdev(undisturbed)
    final = ModelRef(store, "source", 1).card().history[-1]["val"]
    assert abs(final - statistics.mean(undisturbed)) <= 2 * spread
    assert abs(final - undisturbed[0]) <= 0.1 * spread  # not only as good: the same training


def test_sigterm_to_every_process_of_a_node_leaves_a_checkpoint_before_it_goes(start, job, store):
    with three_nodes(warned=True) as nodes:
        program = start("run", job(JOB), *ELASTIC, *SLOWLY, cluster=nodes)
        begun(store)
        node = training_node(nodes)
        node.send(signal.SIGTERM)
        kept = wait_for(lambda: within_an_epoch(store, 1), "a checkpoint within the epoch", NOTICE)
        assert 0 < kept["step"] < steps_of_an_epoch(store)
        assert kept["row"] == BATCH * kept["step"]
        assert node.processes("ray::RayTrainWorker")  # it was written while the node still worked
        nodes.lose(node)
        answer = program.done(400)
    assert (answer["status"], answer["attempt"]) == ("done", 1)
    assert history_of(store) == [(1, steps_of_an_epoch(store))]
    assert workers_at_the_end(store) == 2


def test_a_node_that_is_drained_leaves_a_checkpoint_before_it_goes(start, job, store, nodes):
    """`ray start --block` drains its node when it gets SIGTERM itself, as the first process of a container does."""
    program = start("run", job(JOB), *ELASTIC, *SLOWLY, cluster=nodes)
    begun(store)
    node = training_node(nodes)
    node.popen.send_signal(signal.SIGTERM)
    kept = wait_for(lambda: within_an_epoch(store, 1), "a checkpoint within the epoch", NOTICE)
    assert 0 < kept["step"] < steps_of_an_epoch(store)
    nodes.lose(node)
    assert program.done(400)["attempt"] == 1
    assert history_of(store) == [(1, steps_of_an_epoch(store))]


def begun(store):
    """Wait until training has begun: then rows are loaded, and that is noted."""
    wait_for(lambda: only_run(store) and store.exists(f"{only_run(store)}/attempts/1/loader.json"), "its start", 180)
