"""When the store does not take a checkpoint any more: it is kept on this machine, and the next attempt takes it up.

What is kept lies in a small store of its own, laid out as the real one: `<temp>/xtlray-<user>/rescued/<store>/runs/…`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch

from xtlray import provenance
from xtlray.errors import StoreError, WorkError, XtlrayError
from xtlray.pretrain.checkpoints import OPTIMIZER, STATE, WEIGHTS, Found, newest_checkpoint, save_checkpoint
from xtlray.store import Store
from xtlray.training.state import LoopState

log = logging.getLogger("xtlray.pretrain")


def save_or_rescue(
    store: Store, attempt: str, net: Any, optimizer: torch.optim.Optimizer, state: LoopState, scaler: dict[str, Any]
) -> WorkError | None:
    """`save_checkpoint`; where the store does not take it, keep it here and return an error that says where and why."""
    try:
        save_checkpoint(store, attempt, net, optimizer, state, scaler)
        return None
    except StoreError as error:
        what = f"The checkpoint of epoch {state.epoch} could not be written to the store: the training has ended"
        try:
            home = Store.open(str(_home(store, make=True)))
            folder = save_checkpoint(home, attempt, net, optimizer, state, scaler)
        except (XtlrayError, OSError) as second:
            got = f"{_why(error)}; nor could it be kept on {platform.node()}: {_why(second)}"
            return WorkError(
                what, got=got, fix="the same job goes on at the checkpoint before it, when the store is back"
            )
        return WorkError(
            what,
            got=f"{_why(error)}. It is kept on {platform.node()} at {home.url_of(folder)}",
            fix="run the same job again on that machine when the store is back: it takes the checkpoint up. To go on "
            f"elsewhere, copy the folder to {store.url_of(folder)} first",
        )


def bring_back(store: Store, run: str, attempt: str) -> None:
    """Copy what was kept here of `run` into `attempt`, where it is further than what the store has; then remove it."""
    folder = _home(store)
    if not (folder / run).is_dir():
        return
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        log.warning("%s is somebody else's, and is left alone", folder)
        return
    home = Store(folder.as_uri())
    kept, newest = newest_checkpoint(home, run), newest_checkpoint(store, run)
    if kept and (newest is None or kept.state.step > newest.state.step):
        files = {name: home.get(f"{kept.folder}/{name}") for name in (WEIGHTS, OPTIMIZER)}
        there = f"{attempt}/checkpoints/{kept.state.step:09d}"
        store.publish(there, files, STATE, home.get_json(f"{kept.folder}/{STATE}"))
        log.info("the checkpoint of epoch %d, kept on this machine, is in the store again", kept.state.epoch)
    shutil.rmtree(folder / run)


def last_good(store: Store, run: str) -> str:
    """The folder of the newest checkpoint of `run`, in words for a message."""
    try:
        found: Found | None = newest_checkpoint(store, run)
    except StoreError as error:
        return f"not known ({_why(error)})"
    return f"epoch {found.state.epoch}, {store.url_of(found.folder)}" if found else "none yet"


def _home(store: Store, make: bool = False) -> Path:
    folder = provenance.scratch() / "rescued" / hashlib.sha256(store.url.encode()).hexdigest()[:8]
    if make:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _why(error: Exception) -> str:
    return f"{error.what}: {error.got}".rstrip(".") if isinstance(error, XtlrayError) else f"{error}"
