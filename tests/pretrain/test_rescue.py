"""A checkpoint that the store does not take: kept on this machine, named, and taken up by the next attempt."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from xtlray import provenance
from xtlray.errors import StoreError, WorkError
from xtlray.nn.nets import build_net
from xtlray.pretrain.checkpoints import newest_checkpoint, open_checkpoint, restore
from xtlray.pretrain.rescue import bring_back, last_good, save_or_rescue
from xtlray.store import Store
from xtlray.training.loop import make_optimizer
from xtlray.training.state import LoopState

RUN, FIRST, SECOND = "runs/r", "runs/r/attempts/1", "runs/r/attempts/2"
SCALER = {"mean": [1.0], "scale": [2.0]}


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(provenance, "scratch", lambda: tmp_path / "scratch")
    monkeypatch.setenv("XTLRAY_STORE_PATIENCE", "0")
    return tmp_path / "scratch"


def save(store: Store, attempt: str, epoch: int) -> WorkError | None:
    net = build_net(tiny.NET, 86, 1, seed=epoch)
    optimizer = make_optimizer(net, tiny.RECIPE)
    net(torch.from_numpy(tiny.inputs(4))).sum().backward()
    optimizer.step()
    state = LoopState(epoch=epoch, step=8 * epoch, history=[{"epoch": n} for n in range(1, epoch + 1)])
    return save_or_rescue(store, attempt, net, optimizer, state, SCALER)


def lost(store: Store, epoch: int = 2) -> WorkError:
    """The error of a save while the store is away; it is back afterwards."""
    for attempt in (FIRST, SECOND):
        store.create_json(f"{attempt}/environment.json", {})
    assert store.local_path is not None
    away = store.local_path.rename(store.local_path.with_name("away"))
    error = save(store, FIRST, epoch)
    assert not store.local_path.exists()
    away.rename(store.local_path)
    assert error is not None
    return error


def test_a_store_that_takes_it_is_all_there_is(store: Store, scratch: Path) -> None:
    assert save(store, FIRST, 1) is None
    assert store.exists(f"{FIRST}/checkpoints/000000008/state.json")
    assert not scratch.exists()


def test_it_is_kept_here_named_and_whole(store: Store, scratch: Path) -> None:
    error = lost(store)
    assert not isinstance(error, StoreError)  # one that Ray would have tried again
    assert "checkpoint of epoch 2" in str(error)
    assert "out of reach" in str(error)
    assert "run the same job again" in str(error)
    named = re.search(r"kept on \S+ at (\S+?)\. ", str(error))
    assert named
    folder = Path(named[1])
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert folder.is_relative_to(scratch / "rescued")
    home = Store(folder.parents[5].as_uri())
    found = open_checkpoint(home, folder.relative_to(folder.parents[5]).as_posix())
    net = build_net(tiny.NET, 86, 1, seed=9)
    restore(home, found, net, make_optimizer(net, tiny.RECIPE))
    assert (found.state.epoch, found.scaler) == (2, SCALER)


def test_the_next_attempt_takes_it_up(store: Store, scratch: Path) -> None:
    save(store, FIRST, 1)
    lost(store)
    found = newest_checkpoint(store, RUN)
    assert found is not None
    assert found.state.epoch == 1
    bring_back(store, RUN, SECOND)
    found = newest_checkpoint(store, RUN)
    assert found is not None
    assert (found.state.epoch, found.folder) == (2, f"{SECOND}/checkpoints/000000016")
    net = build_net(tiny.NET, 86, 1, seed=9)
    restore(store, found, net, make_optimizer(net, tiny.RECIPE))
    twin = build_net(tiny.NET, 86, 1, seed=2)  # the net that was saved was made so, and has made a step since
    assert not all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    assert [path for path in scratch.rglob("*") if path.is_file()] == []
    bring_back(store, RUN, SECOND)  # nothing is left to do


def test_the_copied_folder_goes_on_elsewhere(store: Store) -> None:
    error = lost(store)
    kept = re.search(r"kept on \S+ at (\S+?)\. ", str(error))
    there = re.search(r"copy the folder to (\S+) first", str(error))
    assert kept
    assert there
    Path(there[1]).parent.mkdir(parents=True)
    Path(kept[1]).rename(there[1])
    found = newest_checkpoint(store, RUN)
    assert found is not None
    assert found.state.epoch == 2


def test_a_store_that_went_further_meanwhile_is_left_as_it_is(store: Store, scratch: Path) -> None:
    lost(store, epoch=2)
    save(store, SECOND, 3)
    before = store.list("")
    bring_back(store, RUN, SECOND)
    assert store.list("") == before
    assert [path for path in scratch.rglob("*") if path.is_file()] == []


def test_another_store_of_the_same_run_has_nothing_of_it(store: Store, tmp_path: Path) -> None:
    lost(store)
    other = Store.open(str(tmp_path / "other"))
    other.create_json(f"{FIRST}/environment.json", {})
    bring_back(other, RUN, FIRST)
    assert newest_checkpoint(other, RUN) is None


def test_what_somebody_else_left_there_is_not_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost(store)
    monkeypatch.setattr(logging.getLogger("xtlray"), "propagate", True)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    bring_back(store, RUN, SECOND)
    assert newest_checkpoint(store, RUN) is None
    assert "somebody else's" in caplog.text


def test_no_place_here_either(store: Store, scratch: Path) -> None:
    scratch.write_text("a file where the folder should be")
    error = lost(store)
    assert "nor could it be kept" in str(error)
    assert "the checkpoint before it" in str(error)


def test_the_last_good_checkpoint_in_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert last_good(store, RUN) == "none yet"
    store.create_json(f"{FIRST}/environment.json", {})
    save(store, FIRST, 2)
    assert last_good(store, RUN) == f"epoch 2, {store.url_of(f'{FIRST}/checkpoints/000000016')}"

    def gone(*_: Any) -> None:
        raise StoreError("The store is gone", got="x")

    monkeypatch.setattr(Store, "children", gone)
    assert last_good(store, RUN) == "not known (The store is gone: x)"
