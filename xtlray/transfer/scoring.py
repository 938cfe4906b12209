"""From records to results: the chosen configuration's seeds averaged, validated, and, last of all, tested once.

Shape suffixes: B rows, F features, K members.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset
from xtlray.nn.members import LiveMember, ensemble, pack_members, unpack_members
from xtlray.records import PROTOCOL, Member, ResultRecord, TrialRecord
from xtlray.store import Store
from xtlray.training.metrics import mae
from xtlray.transfer.plan import FIRST_SEED, Arm
from xtlray.transfer.selection import choose_config
from xtlray.transfer.task import Task
from xtlray.transfer.trial import Sweep


@dataclass(frozen=True)
class Reference:
    """Published figures of a target: test MAE, in its unit."""

    best_transfer: float | None
    best_scratch: float | None


def chosen_records(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The successful records of the chosen configuration of an arm, by seed. Reads validation figures only.

    The first seed chooses, as it did before the others ran: a mean over seeds against one lucky seed is no contest.
    """
    config = choose_config([record for record in records if record.seed == FIRST_SEED])
    chosen = [r for r in records if r.status == "ok" and config is not None and r.config == config]
    return sorted(chosen, key=lambda record: record.seed)


def load_members(store: Store, records: Sequence[TrialRecord], inputs: int) -> list[LiveMember]:
    """The members that these trials left, ready to predict."""
    members: list[LiveMember] = []
    for record in records:
        assert record.member is not None, "a successful trial has a member"
        files = {name: store.get(key) for name, key in record.files.items()}
        members += unpack_members([record.member], files, inputs, f"trial {record.trial}")
    return members


def pack_model(store: Store, records: Sequence[TrialRecord], inputs: int) -> tuple[list[Member], dict[str, bytes]]:
    """Records and files of the model whose members these trials left."""
    return pack_members(load_members(store, records, inputs))


def score_arm(
    store: Store,
    sweep: Sweep,
    arm: Arm,
    records: Sequence[TrialRecord],
    task: Task,
    dataset: Dataset,
    encoder: FractionEncoder,
    reference: Reference,
) -> ResultRecord:
    """The result of an arm, created once in the store: a later call returns what the first one found.

    The choice is made before any test row is read.
    """
    key = f"{sweep.folder}/results/transfer/{arm.slug}.json"
    if store.exists(key):
        return ResultRecord.read(store.get_json(key), key)
    chosen = chosen_records(records)
    result = _score(store, sweep, arm, chosen, task, dataset, encoder, reference)
    failures = [record.error for record in records if record.status == "failed" and record.error]
    result = result.model_copy(
        update={
            "seconds": sum(record.seconds for record in records),
            "error": failures[0] if failures else None,
            "data_hash": dataset.card.data_hash,
        }
    )
    return result if store.create_json(key, result.as_json()) else ResultRecord.read(store.get_json(key), key)


def _score(
    store: Store,
    sweep: Sweep,
    arm: Arm,
    chosen: Sequence[TrialRecord],
    task: Task,
    dataset: Dataset,
    encoder: FractionEncoder,
    reference: Reference,
) -> ResultRecord:
    members = load_members(store, chosen, len(encoder.elements))
    test = dataset.rows("test")
    x_test_BF, kept, _ = test.encode(encoder)
    y_test_B = test.y_B[kept]
    val_mae = test_mae = spread = None
    if members:
        val_mae = mae(task.y_val_B, ensemble(members, task.x_val_BF)[0])
    if members and len(y_test_B):
        mean_B, spread_B, each_KB = ensemble(members, x_test_BF)
        test_mae = mae(y_test_B, mean_B)
        spread = float(np.abs(each_KB - y_test_B).mean(axis=1).std())
        formulas = [test.formulas[i] for i in kept]
        _keep_predictions(store, f"{sweep.folder}/predictions/{arm.slug}.parquet", formulas, y_test_B, mean_B, spread_B)
    base_B = np.full(len(y_test_B), task.y_train_B.mean())
    return ResultRecord(
        target=arm.target,
        unit=dataset.card.unit,
        method=arm.method,
        source=arm.source,
        seeds=len(members),
        rows_train=len(task.y_train_B),
        rows_val=len(task.y_val_B),
        rows_test=len(y_test_B),
        val_mae=_finite(val_mae),
        test_mae=_finite(test_mae),
        test_mae_spread=_finite(spread),
        base_mae=_finite(mae(y_test_B, base_B)),
        ref_best_transfer=reference.best_transfer,
        ref_best_scratch=reference.best_scratch,
        run=sweep.run,
        status="ok" if members else "failed",
        seconds=0.0,
        commit=sweep.commit,
        config=chosen[0].config if chosen else {},
        trials=[record.trial for record in chosen],
        split_id=task.split_id,
        protocol=PROTOCOL,
    )


def _finite(error: float | None) -> float | None:
    """None for an error beyond float64: one such target must not end the sweep of the others."""
    return error if error is not None and math.isfinite(error) else None


def _keep_predictions(
    store: Store,
    key: str,
    formulas: Sequence[str],
    y_B: NDArray[np.float64],
    mean_B: NDArray[np.float64],
    spread_B: NDArray[np.float64],
) -> None:
    table = pa.table({"formula": formulas, "value": y_B, "predicted": mean_B, "spread": spread_B})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    store.create(key, buffer.getvalue())
