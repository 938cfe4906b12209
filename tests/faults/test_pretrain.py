"""Pretraining that is killed, interrupted, or diverges: nothing finished is lost, nothing is published twice."""

import math
import statistics

import pytest
import torch

from tests.faults.harness import kill, only_run, steps_of, wait_for
from xtlray.data.dataset import open_dataset
from xtlray.nn.nets import build_net, resolve_net
from xtlray.pretrain.rows import load_tables
from xtlray.registry.versions import ModelRef, versions_of
from xtlray.training.loop import Recipe, fit

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

EPOCHS, PER_EPOCH = 6, 8  # 16,111 training rows in batches of 2048
JOB = f"""
kind: pretrain
name: source
dataset: demo/formation_enthalpy
net: {{name: elemnet, hidden: [64, 32]}}
epochs: {EPOCHS}
batch: 2048
lr: 1.0e-3
cpus_per_worker: 1
"""
BATCH = 2
SLOWLY = ("--set", f"batch={BATCH}", "--set", "epochs=1")  # half a minute of one epoch


def steps_of_an_epoch(store):
    """Of the job above, done slowly."""
    return math.ceil(open_dataset(store, "demo/formation_enthalpy").card.splits["train"] / BATCH)


def history_of(store):
    return [(entry["epoch"], entry["step"]) for entry in ModelRef(store, "source", 1).card().history]


def final_errors(store, seeds):
    """Validation MAE (eV/atom) after the last epoch of the same training, undisturbed and in this process."""
    torch.set_num_threads(1)  # more of them wait for one another on a busy machine
    name = "demo/formation_enthalpy"
    net = resolve_net({"name": "elemnet", "hidden": [64, 32]})
    train, val, scaler = load_tables([open_dataset(store, name)], torch.device("cpu"))
    errors = []
    for seed in seeds:
        recipe = Recipe(EPOCHS, 2048, 1e-3, seed, precision="float32")
        state = fit(build_net(net, 86, 1, seed), train, val, recipe)
        errors.append(state.history[-1]["val"] * scaler.scale[0])
    return errors


WHOLE_HISTORY = [(1, 8), (2, 16), (3, 24), (4, 32), (5, 40), (6, 48)]


def test_killed_altogether_and_resumed_by_another_number_of_workers(start, job, store):
    path = job(JOB)
    exact = ("--set", "precision=float32")
    first = start("run", path, *exact, "--set", "workers=2")
    wait_for(lambda: len(steps_of(store, 1)) >= 2, "two checkpoints")
    first.kill_all()
    reached = steps_of(store, 1)[-1]
    assert reached < EPOCHS * PER_EPOCH

    second = start("run", path, *exact, "--set", "workers=1")
    resumed = wait_for(lambda: steps_of(store, 2), "a checkpoint of the second attempt")
    assert resumed[0] == reached + PER_EPOCH  # no epoch that was in the store was trained again
    answer = second.done()

    assert answer["run"] == only_run(store).removeprefix("runs/")
    assert (answer["status"], answer["attempt"], answer["models"]) == ("done", 2, ["source@1"])
    assert history_of(store) == WHOLE_HISTORY
    assert store.numbers("models/source") == versions_of(store, "source") == [1]
    assert f"epoch {reached // PER_EPOCH}/6" not in second.said
    assert f"epoch {reached // PER_EPOCH + 1}/6" in second.said

    undisturbed = final_errors(store, range(5))
    spread = statistics.stdev(undisturbed)
    final = ModelRef(store, "source", 1).card().history[-1]["val"]
    assert abs(final - statistics.mean(undisturbed)) <= 2 * spread
    assert abs(final - undisturbed[0]) <= 0.1 * spread  # not only as good: the same training


def test_a_killed_worker_is_replaced_within_the_same_attempt(start, job, store):
    program = start("run", job(JOB), "--set", "workers=2")
    wait_for(lambda: len(steps_of(store, 1)) >= 2, "two checkpoints")
    workers = program.processes("ray::RayTrainWorker")
    assert len(workers) == 2
    kill(workers[-1])
    answer = program.done()
    assert (answer["status"], answer["attempt"], answer["models"]) == ("done", 1, ["source@1"])
    assert history_of(store) == WHOLE_HISTORY


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(start, job, store):
    path = job(JOB)
    first = start("run", path)
    wait_for(lambda: steps_of(store, 1), "a checkpoint")
    first.interrupt()
    assert first.wait(20) == 130
    wait_for(lambda: not first.processes(), "the end of its processes", 10)
    assert "To go on, give the same command again" in first.said
    assert "Traceback" not in first.said
    reached = steps_of(store, 1)[-1]

    second = start("run", path)
    assert wait_for(lambda: steps_of(store, 2), "a checkpoint of the second attempt")[0] == reached + PER_EPOCH
    assert second.done()["attempt"] == 2
    assert history_of(store) == WHOLE_HISTORY


def test_divergence_ends_at_once_with_epoch_and_learning_rate(start, job, store):
    program = start("run", job(JOB), "--set", "lr=1e30", "--set", "precision=float32")
    assert program.wait() == 1
    errors = [line for line in program.said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "diverged" in errors[0]
    assert "epoch 1" in errors[0]
    assert "learning rate" in errors[0]
    assert "the last good checkpoint: none yet" in errors[0]
    assert steps_of(store, 1) == []
    assert "Traceback" not in program.said
    assert versions_of(store, "source") == []
