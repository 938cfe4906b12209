"""From records to results: the chosen configuration's seeds averaged, validated, and, last of all, tested once.

Shape suffixes: B rows, F elemental fractions, X columns of the input, K members.
"""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xtlray import provenance
from xtlray.chem.formula import Compositions
from xtlray.data.dataset import Dataset
from xtlray.data.inputs import InputEncoder
from xtlray.data.overlap import among, composition_floor, polymorph_deviation, trained_keys
from xtlray.nn.members import LiveMember, ensemble, pack_members, unpack_members
from xtlray.records import INPUTS, PROTOCOL, SPLITS, Member, ResultRecord, TrialRecord
from xtlray.store import Store
from xtlray.training.metrics import mae, r2, rmse
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


@dataclass(frozen=True)
class Source:
    """What scoring wants to know of a source model.

    Attributes:
        card_hash: SHA-256 of its card.
        compositions: that it was trained on; None where its data are not here.
    """

    card_hash: str
    compositions: frozenset[bytes] | None


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """The test rows of a target, and what is known of them whatever the model. Not made before all choices are.

    Attributes:
        x_BX: inputs.
        y_B: targets, in their unit.
        formulas: as they were given.
        compositions: of these rows.
        new_B: whose composition is in no training or validation row.
        base_mae: of the mean of the training targets.
        floor_mae: the lowest that one answer for each composition can reach.
        polymorph_mad: deviation among all rows of the dataset that share a composition.
    """

    x_BX: NDArray[np.float32]
    y_B: NDArray[np.float64]
    formulas: list[str]
    compositions: Compositions
    new_B: NDArray[np.bool_]
    base_mae: float | None
    floor_mae: float | None
    polymorph_mad: float | None

    @classmethod
    def of(cls, dataset: Dataset, task: Task, encoder: InputEncoder) -> HeldOutRows:
        """The test rows that the input can hold."""
        rows = dataset.rows("test")
        x_BF, kept, _ = rows.encode(encoder.fractions)
        y_B, compositions = rows.y_B[kept], rows.compositions.take(kept)
        every = [dataset.rows(split) for split in SPLITS]
        everything = Compositions.concatenate([each.compositions for each in every])
        return cls(
            encoder.widen(x_BF, rows, kept),
            y_B,
            [rows.formulas[i] for i in kept],
            compositions,
            ~among(compositions, trained_keys(dataset)),
            _finite(mae(y_B, np.full(len(y_B), task.y_train_B.mean()))),
            _finite(composition_floor(compositions, y_B)),
            _finite(polymorph_deviation(everything, np.concatenate([each.y_B for each in every]))),
        )


def score_arm(
    store: Store,
    sweep: Sweep,
    arm: Arm,
    records: Sequence[TrialRecord],
    task: Task,
    dataset: Dataset,
    test: Callable[[], HeldOutRows],
    reference: Reference,
    source: Source | None = None,
) -> ResultRecord:
    """The result of an arm, created once in the store: a later call returns what the first one found.

    The choice is made before any test row is read, by `test`.
    """
    key = f"{sweep.folder}/results/transfer/{arm.slug}.json"
    if store.exists(key):
        return ResultRecord.read(store.get_json(key), key)
    chosen = chosen_records(records)
    members = load_members(store, chosen, task.fractions)
    val_mae = mae(task.y_val_B, ensemble(members, task.x_val_BX)[0]) if members else None
    rows = test()
    failures = [record.error for record in records if record.status == "failed" and record.error]
    result = ResultRecord(
        target=arm.target,
        unit=dataset.card.unit,
        method=arm.method,
        source=arm.source,
        seeds=len(members),
        rows_train=len(task.y_train_B),
        rows_val=len(task.y_val_B),
        rows_test=len(rows.y_B),
        val_mae=_finite(val_mae),
        **_tested(store, f"{sweep.folder}/predictions/{arm.slug}", members, rows),
        base_mae=rows.base_mae,
        ref_best_transfer=reference.best_transfer,
        ref_best_scratch=reference.best_scratch,
        run=sweep.run,
        status="ok" if members else "failed",
        error=failures[0] if failures else None,
        seconds=sum(record.seconds for record in records),
        commit=sweep.commit,
        config=chosen[0].config if chosen else {},
        trials=[record.trial for record in chosen],
        split_id=task.split_id,
        protocol=PROTOCOL,
        data_hash=dataset.card.data_hash,
        input=_input(chosen),
        source_hash=source.card_hash if source else None,
        rows_test_new=int(rows.new_B.sum()),
        floor_mae=rows.floor_mae,
        polymorph_mad=rows.polymorph_mad,
        rows_test_pretrained=_shared(rows, source),
        trials_run=len(records),
        hardware=provenance.hardware(),
    )
    return result if store.create_json(key, result.as_json()) else ResultRecord.read(store.get_json(key), key)


def _tested(store: Store, name: str, members: Sequence[LiveMember], rows: HeldOutRows) -> dict[str, Any]:
    """The figures that the test rows give; what was predicted is kept under a name that begins with `name`."""
    if not members or not len(rows.y_B):
        return {"test_mae": None, "test_mae_spread": None}
    started = time.perf_counter()
    mean_B, spread_B, each_KB = ensemble(members, rows.x_BX)
    seconds = time.perf_counter() - started
    data = _pack_predictions(rows, mean_B, spread_B)
    key = f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.parquet"  # another driver's may differ in the last digit
    store.create(key, data)
    test_mae = mae(rows.y_B, mean_B)
    return {
        "test_mae": _finite(test_mae),
        "test_mae_spread": _finite(float(np.abs(each_KB - rows.y_B).mean(axis=1).std())),
        "test_rmse": _finite(rmse(rows.y_B, mean_B)),
        "test_r2": _finite(r2(rows.y_B, mean_B)),
        "mae_over_base": _finite(test_mae / rows.base_mae) if test_mae is not None and rows.base_mae else None,
        "test_mae_new_compositions": _finite(mae(rows.y_B[rows.new_B], mean_B[rows.new_B])),
        "rows_per_s": len(mean_B) / seconds,
        "predictions": key,
    }


def _input(chosen: Sequence[TrialRecord]) -> str:
    """What the members of an arm read, in words: they have one configuration, and so one kind."""
    member = chosen[0].member if chosen else None
    if member is None or member.blocks is None:
        return INPUTS["fractions"]
    return "+".join(INPUTS[block.kind] for block in member.blocks)


def _shared(rows: HeldOutRows, source: Source | None) -> int | None:
    if source is None or source.compositions is None:
        return None
    return int(among(rows.compositions, source.compositions).sum())


def _finite(error: float | None) -> float | None:
    """None for an error beyond float64: one such target must not end the sweep of the others."""
    return error if error is not None and math.isfinite(error) else None


def _pack_predictions(rows: HeldOutRows, mean_B: NDArray[np.float64], spread_B: NDArray[np.float64]) -> bytes:
    columns = {"formula": rows.formulas, "value": rows.y_B, "predicted": mean_B, "spread": spread_B, "new": rows.new_B}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()
