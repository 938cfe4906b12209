"""Checkpoints in the store: safetensors and JSON, `state.json` last, so that a half-written one does not count.

They lie at `runs/<run id>/attempts/<n>/checkpoints/<step>/`. A resume takes the newest complete one of any attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from xtlray.errors import StoreError, StoreGoneError
from xtlray.nn.tensors import load_weights, pack_tensors, unpack_tensors
from xtlray.store import Store
from xtlray.training.state import LoopState

log = logging.getLogger("xtlray.pretrain")
WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
KEEP = 2  # the newest one and the one before it, should the newest be damaged


@dataclass(frozen=True)
class Found:
    """A complete checkpoint: its folder, and the state of the loop when it was written."""

    folder: str
    state: LoopState
    scaler: dict[str, Any]


def save_checkpoint(
    store: Store, attempt: str, net: Any, optimizer: torch.optim.Optimizer, state: LoopState, scaler: dict[str, Any]
) -> str:
    """Write a checkpoint of `attempt` (its folder in the store); returns its folder. Older ones are pruned."""
    folder = f"{attempt}/checkpoints/{state.step:09d}"
    files = {
        WEIGHTS: pack_tensors(net.state_dict()),
        OPTIMIZER: pack_tensors(_optimizer_tensors(optimizer)),
    }
    store.publish(folder, files, STATE, {"loop": state.as_json(), "scaler": scaler, "schema_version": 1})
    for old in store.children(f"{attempt}/checkpoints")[:-KEEP]:
        keys = store.list(f"{attempt}/checkpoints/{old}")
        store.delete(sorted(keys, key=lambda key: not key.endswith(STATE)))  # what makes it count goes first
    return folder


def newest_checkpoint(store: Store, run: str) -> Found | None:
    """The complete checkpoint with the most steps, of any attempt of `run` (its folder in the store)."""
    return next(complete_checkpoints(store, run), None)


def whole_checkpoint(store: Store, run: str) -> Found | None:
    """The newest checkpoint whose weights can be read; None where there is none."""
    for found in complete_checkpoints(store, run):
        where = f"{found.folder}/{WEIGHTS}"
        try:
            unpack_tensors(store.get(where), where)
        except StoreGoneError:
            raise
        except StoreError as error:
            log.warning("a checkpoint is passed over: %s", error)
            continue
        return found
    return None


def complete_checkpoints(store: Store, run: str) -> Iterator[Found]:
    """All complete checkpoints of a run, the one with the most steps first.

    One whose state cannot be read, as a power cut may leave it, is passed over, and said.

    Raises:
        StoreError: none can be read, and it is not that there is none: to start from nothing would throw work away.
    """
    found = []
    for n in store.numbers(f"{run}/attempts"):
        folder = f"{run}/attempts/{n}/checkpoints"
        found += [(int(step), n, f"{folder}/{step}") for step in store.children(folder)]
    readable, damage = False, None
    for _, _, folder in sorted(found, reverse=True):
        if not store.exists(f"{folder}/{STATE}"):
            continue
        try:
            one = open_checkpoint(store, folder)
        except StoreGoneError:
            raise
        except StoreError as error:
            log.warning("a checkpoint is passed over: %s", error)
            damage = damage or error
            continue
        readable = True
        yield one
    if damage and not readable:
        raise damage


def open_checkpoint(store: Store, folder: str) -> Found:
    """The complete checkpoint in that folder. Raises `StoreError` where its state is not what was written."""
    value = store.get_json(f"{folder}/{STATE}")
    try:
        return Found(folder, LoopState.from_json(value["loop"]), value["scaler"])
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            "The state of a checkpoint cannot be understood",
            got=f"{folder}/{STATE}: {type(error).__name__}: {error}",
            fix="delete the checkpoint's folder, or start the job anew with --again",
        ) from error


def restore(store: Store, found: Found, net: Any, optimizer: torch.optim.Optimizer) -> None:
    """Load a checkpoint into `net` and `optimizer`. Raises `StoreError` where a file of it is damaged or missing."""
    restore_weights(store, found, net)
    restore_optimizer(store, found, optimizer)


def restore_weights(store: Store, found: Found, net: Any) -> None:
    """Load the weights of a checkpoint into `net`."""
    where = f"{found.folder}/{WEIGHTS}"
    load_weights(net, unpack_tensors(store.get(where), where), where)


def restore_optimizer(store: Store, found: Found, optimizer: torch.optim.Optimizer) -> None:
    """Load the optimizer's moments of a checkpoint."""
    where = f"{found.folder}/{OPTIMIZER}"
    tensors = unpack_tensors(store.get(where), where)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, _, moment = name.partition(".")
        state.setdefault(int(index), {})[moment] = value
    expected = sum(len(group["params"]) for group in optimizer.param_groups)
    if len(state) not in (0, expected):
        raise StoreError("A checkpoint's optimizer does not fit the net", got=f"{where}: {len(state)} of {expected}")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, moments in state.items() for name, value in moments.items()}
