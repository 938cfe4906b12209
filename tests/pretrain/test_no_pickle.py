"""Nothing restored from the store is pickle: what lies there is safetensors and JSON, and nothing else is believed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from tests import tiny
from xtlray.errors import StoreError
from xtlray.nn.nets import build_net
from xtlray.pretrain.checkpoints import OPTIMIZER, STATE, WEIGHTS, newest_checkpoint, restore, save_checkpoint
from xtlray.pretrain.result import load_net
from xtlray.registry.model import load_model
from xtlray.store import Store
from xtlray.training.loop import make_optimizer
from xtlray.training.state import LoopState

ATTEMPT = "runs/r/attempts/1"


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def folder(store: Store) -> str:
    """A checkpoint after a step."""
    net = build_net(tiny.NET, 86, 1, seed=0)
    optimizer = make_optimizer(net, tiny.RECIPE)
    net(torch.from_numpy(tiny.inputs(4))).sum().backward()
    optimizer.step()
    store.create_json(f"{ATTEMPT}/environment.json", {})
    state = LoopState(epoch=1, step=1, history=[{"epoch": 1, "loss": 0.5, "val": None}])
    state.loss.add(torch.tensor([2.5]), torch.tensor([5]))
    return save_checkpoint(store, ATTEMPT, net, optimizer, state, {"mean": [1.0], "scale": [2.0]})


def replaced(store: Store, key: str, data: bytes) -> None:
    store.delete([key])
    store.create(key, data)


def test_a_checkpoint_is_safetensors_and_json(store: Store, folder: str) -> None:
    files = {key.rsplit("/", 1)[1]: store.get(key) for key in store.list(folder)}
    assert set(files) == {WEIGHTS, OPTIMIZER, STATE}
    net = build_net(tiny.NET, 86, 1, seed=0)
    assert set(load(files[WEIGHTS])) == set(net.state_dict())
    assert all(name.partition(".")[0].isdecimal() for name in load(files[OPTIMIZER]))
    assert json.loads(files[STATE])["loop"]["epoch"] == 1


def test_nothing_is_unpickled_on_the_way_back(store: Store, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def caught(*_: Any, **__: Any) -> None:
        raise AssertionError("something is unpickled")

    ref = tiny.model(store)
    for module, names in ((pickle, ("load", "loads", "Unpickler", "_Unpickler")), (torch, ("load",))):
        for name in names:
            monkeypatch.setattr(module, name, caught)
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(b"")
    found = newest_checkpoint(store, "runs/r")
    assert found is not None
    net = build_net(tiny.NET, 86, 1, seed=1)
    restore(store, found, net, make_optimizer(net, tiny.RECIPE))
    load_net(store, found, tiny.NET, 86)
    load_model(ref).predict(["NaCl"])


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER])
@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_pickle_in_the_place_of_tensors_is_refused_and_not_run(
    store: Store, folder: str, tmp_path: Path, name: str, how: str
) -> None:
    trap = tmp_path / "sprung"
    if how == "pickle":
        data = pickle.dumps({"weight": Trap(trap)})
    else:
        torch.save({"weight": Trap(trap)}, tmp_path / "saved")
        data = (tmp_path / "saved").read_bytes()
    replaced(store, f"{folder}/{name}", data)
    found = newest_checkpoint(store, "runs/r")
    assert found is not None
    net = build_net(tiny.NET, 86, 1, seed=1)
    with pytest.raises(StoreError, match=name):
        restore(store, found, net, make_optimizer(net, tiny.RECIPE))
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists()  # the trap works


def test_pickle_in_the_place_of_the_state_is_refused(store: Store, folder: str, tmp_path: Path) -> None:
    replaced(store, f"{folder}/{STATE}", pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(StoreError, match=r"state\.json"):
        newest_checkpoint(store, "runs/r")
    assert not (tmp_path / "sprung").exists()
