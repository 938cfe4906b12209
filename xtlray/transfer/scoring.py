"""From records to results: members averaged, judged out of fold, and, last of all, tested once.

Shape suffixes: B test rows, K members.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
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
from xtlray.errors import StoreError
from xtlray.nn.packing import join_packed
from xtlray.records import INPUTS, OUT_OF_FOLD, SPLITS, Member, ResultRecord, TrialRecord
from xtlray.store import Store
from xtlray.training.metrics import mae, r2, rmse
from xtlray.transfer.answers import Mixture, base_error, described
from xtlray.transfer.plan import Arm
from xtlray.transfer.task import Pool
from xtlray.transfer.trial import Sweep


@dataclass(frozen=True)
class Reference:
    """Published figures of a target: test MAE, in its unit."""

    best_transfer: float | None
    best_scratch: float | None


def pack_model(store: Store, mixture: Mixture) -> tuple[list[Member], dict[str, bytes]]:
    """Records and files of a model that consists of what these trials left, as they left it."""
    left = []
    for record in mixture.records:
        assert record.member is not None, "a trial that is kept has a member"
        left.append((record.member, {name: store.get(key) for name, key in record.files.items()}))
    members, files = join_packed(left)
    places = zip(members, mixture.weights, mixture.groups, strict=True)
    return [member.model_copy(update={"weight": w, "group": g}) for member, w, g in places], files


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
        y_B: targets, in their unit.
        formulas: as they were given.
        compositions: of these rows.
        new_B: whose composition is in no training or validation row.
        base_mae: of the mean of the targets that may be trained on.
        floor_mae: the lowest that one answer for each composition can reach.
        polymorph_mad: deviation among all rows of the dataset that share a composition.
    """

    y_B: NDArray[np.float64]
    formulas: list[str]
    compositions: Compositions
    new_B: NDArray[np.bool_]
    base_mae: float | None
    floor_mae: float | None
    polymorph_mad: float | None

    @classmethod
    def of(cls, dataset: Dataset, pool: Pool, encoder: InputEncoder) -> HeldOutRows:
        """The test rows that the input can hold."""
        rows = dataset.rows("test")
        kept = np.flatnonzero(encoder.fractions.encodable(rows.compositions))
        y_B, compositions = rows.y_B[kept], rows.compositions.take(kept)
        every = [dataset.rows(split) for split in SPLITS]
        everything = Compositions.concatenate([each.compositions for each in every])
        return cls(
            y_B,
            [rows.formulas[i] for i in kept],
            compositions,
            ~among(compositions, trained_keys(dataset)),
            _finite(base_error(pool, y_B)),
            _finite(composition_floor(compositions, y_B)),
            _finite(polymorph_deviation(everything, np.concatenate([each.y_B for each in every]))),
        )


def score(
    store: Store,
    sweep: Sweep,
    arm: Arm,
    mixture: Mixture | None,
    records: Sequence[TrialRecord],
    pool: Pool,
    dataset: Dataset,
    test: Callable[[], HeldOutRows],
    reference: Reference,
    sources: Mapping[str, Source],
) -> ResultRecord:
    """The result of an arm, created once in the store: a later call returns what the first one found.

    Args:
        store: where results are kept.
        sweep: the run.
        arm: what the result is about.
        mixture: of its members; None where none of its trials succeeded.
        records: of all trials that it stands on.
        pool: the rows that were trained on.
        dataset: the target.
        test: reads the test rows; not called for a result that is there.
        reference: published figures.
        sources: the source models by `name@version`.
    """
    key = f"{sweep.folder}/results/transfer/{arm.slug}.json"
    before = _scored_before(store, key, mixture)
    if before is not None:
        return before
    rows = test()
    failures = [record.error for record in records if record.status == "failed" and record.error]
    of_mixture = _chosen(arm, mixture)
    carried = sorted(of_mixture["source"].split("+")) if of_mixture["source"] else []
    result = ResultRecord(
        target=arm.target,
        unit=dataset.card.unit,
        method=arm.method,
        **of_mixture,
        **_tested(store, f"{sweep.folder}/predictions/{arm.slug}", mixture, rows),
        **_whatever_the_model(rows, [sources[name] for name in carried if name in sources]),
        rows_train=len(pool.y_B),
        ref_best_transfer=reference.best_transfer,
        ref_best_scratch=reference.best_scratch,
        run=sweep.run,
        error=failures[0] if failures else None,
        seconds=sum(record.seconds for record in records),
        commit=sweep.commit,
        split_id=pool.split_id,
        protocol=OUT_OF_FOLD,
        data_hash=dataset.card.data_hash,
        trials_run=len(records),
        hardware=provenance.hardware(),
    )
    return result if store.create_json(key, result.as_json()) else ResultRecord.read(store.get_json(key), key)


def _scored_before(store: Store, key: str, mixture: Mixture | None) -> ResultRecord | None:
    """The result that lies there. Raises `StoreError` where it stands on other trials."""
    if not store.exists(key):
        return None
    found = ResultRecord.read(store.get_json(key), key)
    if found.trials != [record.trial for record in (mixture.records if mixture else [])]:
        raise StoreError(
            "A result of this run stands on other trials than those that it has now",
            got=f"{key}, of commit {found.commit}",
            fix="start the job anew with --again",
        )
    return found


def _chosen(arm: Arm, mixture: Mixture | None) -> dict[str, Any]:
    """What a result says of its members; of an arm without one, that it failed."""
    if mixture is None:
        nothing: dict[str, Any] = {"seeds": 0, "rows_val": 0, "val_mae": None, "config": {}, "trials": []}
        return {**nothing, "source": arm.source, "status": "failed", "input": _input([])}
    chosen = mixture.records
    carried = sorted({name for part, _, _ in mixture.parts for name in part.sources})
    own = mixture.parts[0][0] == arm  # an ensemble says whose members it has, even of one arm
    return {
        "source": arm.source or "+".join(carried) or None,
        "seeds": max((len(answers.records) for _, _, answers in mixture.parts), default=0),
        "rows_val": mixture.rows_val,
        "val_mae": mixture.val_mae,
        "status": "ok",
        "config": chosen[0].config if own else described(mixture),
        "trials": [record.trial for record in chosen],
        "input": _input(chosen),
    }


def _whatever_the_model(rows: HeldOutRows, sources: Sequence[Source]) -> dict[str, Any]:
    """Counts and bounds of the test rows."""
    return {
        "rows_test": len(rows.y_B),
        "base_mae": rows.base_mae,
        "source_hash": "+".join(source.card_hash for source in sources) or None,
        "rows_test_new": int(rows.new_B.sum()),
        "floor_mae": rows.floor_mae,
        "polymorph_mad": rows.polymorph_mad,
        "rows_test_pretrained": _shared(rows, sources),
    }


def _tested(store: Store, name: str, mixture: Mixture | None, rows: HeldOutRows) -> dict[str, Any]:
    """The figures that the test rows give; what was predicted is kept under a name that begins with `name`."""
    if mixture is None or not len(rows.y_B):
        return {"test_mae": None, "test_mae_spread": None}
    mean_B, spread_B, between_B, each_KB = mixture.test()
    half_B = mixture.interval.half_width(between_B) if mixture.interval else None
    data = _pack_predictions(rows, mean_B, spread_B, half_B)
    key = f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.parquet"  # another driver's may differ in the last digit
    store.create(key, data)
    test_mae = mae(rows.y_B, mean_B)
    rates = [record.rows_per_s for record in mixture.records if record.rows_per_s]
    return {
        "test_mae": _finite(test_mae),
        "test_mae_spread": _finite(float(np.abs(each_KB - rows.y_B).mean(axis=1).std())),
        "test_rmse": _finite(rmse(rows.y_B, mean_B)),
        "test_r2": _finite(r2(rows.y_B, mean_B)),
        "mae_over_base": _finite(test_mae / rows.base_mae) if test_mae is not None and rows.base_mae else None,
        "test_mae_new_compositions": _finite(mae(rows.y_B[rows.new_B], mean_B[rows.new_B])),
        "rows_per_s": 1 / sum(1 / rate for rate in rates) if rates else None,
        "predictions": key,
        "interval_coverage": None if half_B is None else float((np.abs(rows.y_B - mean_B) <= half_B).mean()),
        "interval_width": None if half_B is None else _finite(float(np.median(2 * half_B))),
    }


def _input(chosen: Sequence[TrialRecord]) -> str:
    """What the members read, in words."""
    kinds: dict[str, None] = {}
    for record in chosen:
        blocks = record.member.blocks if record.member else None
        kinds |= dict.fromkeys([block.kind for block in blocks] if blocks else ["fractions"])
    return "+".join(INPUTS[kind] for kind in kinds) or INPUTS["fractions"]


def _shared(rows: HeldOutRows, sources: Sequence[Source]) -> int | None:
    seen = [source.compositions for source in sources]
    if not seen or any(each is None for each in seen):
        return None
    return int(among(rows.compositions, frozenset().union(*(each for each in seen if each is not None))).sum())


def _finite(error: float | None) -> float | None:
    """None for an error beyond float64: one such target must not end the sweep of the others."""
    return error if error is not None and math.isfinite(error) else None


def _pack_predictions(
    rows: HeldOutRows,
    mean_B: NDArray[np.float64],
    spread_B: NDArray[np.float64],
    half_B: NDArray[np.float64] | None,
) -> bytes:
    nothing = np.full(len(mean_B), np.nan)
    columns = {
        "formula": rows.formulas,
        "value": rows.y_B,
        "predicted": mean_B,
        "spread": spread_B,
        "lower": nothing if half_B is None else mean_B - half_B,
        "upper": nothing if half_B is None else mean_B + half_B,
        "new": rows.new_B,
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()
