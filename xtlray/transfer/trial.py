"""One trial: fit, score on the held-out fold, leave one record in the store, created once, whatever happened."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from xtlray.errors import StoreError, WorkError
from xtlray.nn.members import NetMember
from xtlray.nn.packing import pack_members
from xtlray.nn.tensors import pack_tensors
from xtlray.records import OUT_OF_FOLD, TrialRecord
from xtlray.scrub import scrub
from xtlray.store import Store
from xtlray.training.metrics import mae, rmse
from xtlray.transfer.budget import first_rung, rows_of_first_rung
from xtlray.transfer.method import Fitted
from xtlray.transfer.methods import get_method
from xtlray.transfer.plan import KEEP, TrialSpec
from xtlray.transfer.task import Pool, Task

log = logging.getLogger("xtlray.transfer")
_TIMED_ROWS = 256


@dataclass(frozen=True)
class Sweep:
    """What all trials of a sweep share; it travels to every trial process."""

    store: str
    run: str
    attempt: int
    commit: str | None
    versions: dict[str, str]

    @property
    def folder(self) -> str:
        return f"runs/{self.run}"

    def record_key(self, trial: str) -> str:
        return f"{self.folder}/trials/{trial}.json"


def read_record(store: Store, sweep: Sweep, trial: str) -> TrialRecord | None:
    """The record of a finished trial, None where there is none yet."""
    key = sweep.record_key(trial)
    return TrialRecord.read(store.get_json(key), key) if store.exists(key) else None


def run_trial(store: Store, sweep: Sweep, spec: TrialSpec, pool: Pool, sources: Mapping[str, NetMember]) -> TrialRecord:
    """Run a trial and leave its record. One that has its record already is not run again.

    A trial that raises is a record too, with its error: one bad trial must not end a sweep of thousands.
    """
    done = read_record(store, sweep, spec.id)
    if done:
        return done
    started = time.perf_counter()
    try:
        outcome = _outcome(store, sweep, spec, pool, sources)
    except StoreError:
        raise  # the store's trouble, not the trial's: it leaves no record, and the run can be given again
    except Exception as error:
        log.warning("trial %s failed: %s", spec.id, error)
        outcome = {"status": "failed", "error": scrub(f"{type(error).__name__}: {error}")}
    return leave_record(store, sweep, spec, pool, {**outcome, "seconds": time.perf_counter() - started})


def leave_record(store: Store, sweep: Sweep, spec: TrialSpec, pool: Pool, outcome: dict[str, Any]) -> TrialRecord:
    """Create the record; where another driver was faster, its record is the one that counts."""
    task = pool.task(spec.seed)
    record = TrialRecord(
        trial=spec.id,
        run=sweep.run,
        attempt=sweep.attempt,
        target=spec.arm.target,
        method=spec.arm.method,
        source=spec.arm.source,
        config=spec.config,
        seed=spec.seed,
        rung=spec.rung,
        fold=task.fold,
        protocol=OUT_OF_FOLD,
        split_id=pool.split_id,
        rows_train=rows_of_rung(spec, len(task.train_B)),
        rows_val=len(task.val_B),
        commit=sweep.commit,
        versions=sweep.versions,
        **outcome,
    )
    key = sweep.record_key(spec.id)
    return record if store.create_json(key, record.as_json()) else TrialRecord.read(store.get_json(key), key)


def rows_of_rung(spec: TrialSpec, rows: int) -> int:
    """How many of the training rows a trial is fitted on."""
    return rows if spec.rung == KEEP else rows_of_first_rung(spec.config, rows)


def fit_spec(spec: TrialSpec, task: Task, sources: Mapping[str, NetMember]) -> Fitted:
    """What the trial's method makes of the task, with the budget of its rung."""
    config, part = spec.config, task
    if spec.rung != KEEP:
        config, part = first_rung(config), task.part(rows_of_rung(spec, len(task.train_B)), spec.seed)
    nets = [sources[name] for name in spec.arm.sources]
    return get_method(spec.arm.method).fit(part, nets, config, spec.seed)


def _outcome(
    store: Store, sweep: Sweep, spec: TrialSpec, pool: Pool, sources: Mapping[str, NetMember]
) -> dict[str, Any]:
    task = pool.task(spec.seed)
    fitted = fit_spec(spec, task, sources)
    predicted_B = task.answers(fitted.member)
    val_mae, val_rmse = mae(task.y_val_B, predicted_B), rmse(task.y_val_B, predicted_B)
    if val_mae is None or val_rmse is None or not math.isfinite(val_mae + val_rmse):
        raise WorkError("The trial's validation error is not a number", got=str(val_mae), fix="try a lower lr")
    outcome = {"status": "ok", "val_mae": val_mae, "val_rmse": val_rmse, "history": fitted.history}
    if spec.rung != KEEP:
        return outcome
    (member,), files = pack_members([fitted.member])
    answers = {"fold": torch.from_numpy(predicted_B), "test": torch.zeros(0, dtype=torch.float64)}
    rate = None
    if len(pool.x_test_TX):
        answers["test"] = torch.from_numpy(task.test_answers(fitted.member))
        some = pool.x_test_TX[:_TIMED_ROWS]
        started = time.perf_counter()
        fitted.member.predict(some)  # the whole way from the input, which `answers` had in part from before
        rate = len(some) / (time.perf_counter() - started)
    return {
        **outcome,
        "predictions": keep_file(store, sweep, "answers.safetensors", pack_tensors(answers)),
        "rows_per_s": rate,
        "member": member,
        "files": {name: keep_file(store, sweep, name, data) for name, data in files.items()},
    }


def keep_file(store: Store, sweep: Sweep, name: str, data: bytes) -> str:
    """Keep a file of a trial under the hash of its content, once; returns its key.

    A trial that was cut off before its record, and is run again, may leave other bytes: the record names its own.
    """
    key = f"{sweep.folder}/members/{hashlib.sha256(data).hexdigest()}-{name}"
    if not store.exists(key):  # many trials share the file of a source
        store.create(key, data)
    return key
