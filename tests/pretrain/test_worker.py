"""What one worker meets alone, and what all of them must hear of: nobody is to wait for one that has ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray.train
import torch
import torch.distributed as dist

from xtlray.errors import StoreError, StoreGoneError, WorkError
from xtlray.pretrain import worker
from xtlray.pretrain.worker import DistributedRanks, train_worker


def ranks(rank: int) -> DistributedRanks:
    made = DistributedRanks.__new__(DistributedRanks)
    made.rank, made.world, made.device = rank, 2, torch.device("cpu")
    return made


def test_what_the_first_worker_meets_all_hear_of(monkeypatch: pytest.MonkeyPatch) -> None:
    wire: list[Any] = []

    def broadcast(values: list[Any], src: int, device: torch.device) -> None:
        if values[0] is not None:
            wire[:] = values
        values[:] = wire

    def gone() -> Any:
        raise StoreGoneError("gone", got="for 120 s")

    def unwanted() -> Any:
        raise AssertionError("only the first worker is to make it")

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    assert [ranks(0).from_first(lambda: 7), ranks(1).from_first(unwanted)] == [7, 7]
    for rank, make in ((0, gone), (1, unwanted)):
        with pytest.raises(WorkError, match="for 120 s") as met:
            ranks(rank).from_first(make)
        assert not isinstance(met.value, StoreError)  # which would be tried again


@pytest.mark.parametrize(("world", "error", "raised"), [
    (1, StoreGoneError("gone"), False),
    (2, StoreGoneError("gone"), True),  # the other may wait in a sum of gradients, for half an hour
    (1, StoreError("damaged"), True),
    (2, WorkError("diverged"), False),
])  # fmt: skip
def test_an_error_that_others_may_not_have_met_is_raised(
    monkeypatch: pytest.MonkeyPatch, world: int, error: WorkError, raised: bool
) -> None:
    def fails(_: Any) -> None:
        raise error

    monkeypatch.setattr(worker, "_train", fails)
    monkeypatch.setattr(ray.train, "get_context", lambda: SimpleNamespace(get_world_size=lambda: world))
    if raised:
        with pytest.raises(type(error)):
            train_worker({"worker": None})
    else:
        assert train_worker({"worker": None}) is error


def test_a_checkpoint_out_of_reach_is_not_passed_over_for_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def restore(store: Any, found: Any, net: Any, optimizer: Any) -> None:
        tried.append(found)
        if found == "newest":
            raise StoreGoneError("gone")

    monkeypatch.setattr(worker, "complete_checkpoints", lambda *_: iter(["newest", "older"]))
    monkeypatch.setattr(worker, "restore", restore)
    with pytest.raises(StoreGoneError):
        worker._readable(Any, SimpleNamespace(run="runs/r"), None, None)  # type: ignore[arg-type]
    assert tried == ["newest"]
