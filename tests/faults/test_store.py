"""A store that goes away in the middle of a pretraining: waited for; where it does not come back, nothing is lost."""

import re
import time
from pathlib import Path

import pytest

from tests.faults.harness import only_run, steps_of, wait_for
from tests.faults.test_pretrain import JOB, PER_EPOCH, WHOLE_HISTORY, history_of
from xtlray.nn.nets import build_net
from xtlray.pretrain.checkpoints import open_checkpoint, restore
from xtlray.registry.versions import versions_of
from xtlray.store import Store
from xtlray.training.loop import Recipe, make_optimizer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


def take_away(store):
    """As when a network file system is not mounted any more; returns where it is now."""
    return store.local_path.rename(store.local_path.with_name("away"))


def bring_back(away, store):
    away.rename(store.local_path)  # fails where the folder had been made anew


def test_gone_for_five_seconds(start, job, store):
    program = start("run", job(JOB))
    wait_for(lambda: steps_of(store, 1), "a checkpoint")
    away = take_away(store)
    time.sleep(5)
    assert program.popen.poll() is None
    bring_back(away, store)
    answer = program.done()
    assert (answer["status"], answer["attempt"], answer["models"]) == ("done", 1, ["source@1"])
    assert history_of(store) == WHOLE_HISTORY
    assert re.search(r"warning: the store .*/store has been out of reach for \d s, and is waited for", program.said)
    assert re.search(r"warning: the store is back after [4-9] s", program.said)


def test_gone_for_good(start, job, store, monkeypatch):
    path = job(JOB)
    monkeypatch.setenv("XTLRAY_STORE_PATIENCE", "3")
    first = start("run", path, "--set", "workers=2")
    wait_for(lambda: steps_of(store, 1), "a checkpoint")
    away = take_away(store)
    began = time.monotonic()
    assert first.wait(60) == 1
    assert time.monotonic() - began < 30  # no worker waits for the others, nobody waits twice
    assert not store.local_path.exists()
    errors = [line for line in first.said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "Traceback" not in first.said
    assert "out of reach" in errors[0]

    kept = re.search(r"The checkpoint of epoch (\d).*It is kept on \S+ at (\S+?/rescued/\w+)/(\S+?)\. ", errors[0])
    assert kept, errors
    epoch, home = int(kept[1]), Store(Path(kept[2]).as_uri())
    found = open_checkpoint(home, kept[3])
    net = build_net({"name": "elemnet", "hidden": [64, 32]}, 86, 1, seed=1)
    restore(home, found, net, make_optimizer(net, Recipe(epochs=6, batch=2048, lr=1e-3, seed=0)))
    assert (found.state.epoch, found.state.step) == (epoch, epoch * PER_EPOCH)

    bring_back(away, store)
    assert versions_of(store, "source") == []
    assert store.children("models") == []
    assert steps_of(store, 1)[-1] < epoch * PER_EPOCH
    second = start("run", path)
    answer = second.done()
    assert answer["run"] == only_run(store).removeprefix("runs/")
    assert (answer["status"], answer["attempt"], answer["models"]) == ("done", 2, ["source@1"])
    assert history_of(store) == WHOLE_HISTORY
    assert f"the checkpoint of epoch {epoch}, kept on this machine, is in the store again" in second.said
    assert f"epoch {epoch}/6" not in second.said  # no epoch was trained again
    assert not home.local_path.joinpath("runs", answer["run"]).exists()
