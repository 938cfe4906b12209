"""The result of a pretraining: its last checkpoint scored once, created once, so that every later reader agrees."""

from __future__ import annotations

from typing import Any

from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset
from xtlray.nn.members import NetMember
from xtlray.nn.nets import build_net, resolve_net
from xtlray.nn.scaler import TargetScaler
from xtlray.pretrain.checkpoints import Found, open_checkpoint, restore_weights
from xtlray.records import Record, SplitMetrics
from xtlray.store import Store
from xtlray.training.metrics import split_metrics


class PretrainResult(Record):
    """Which checkpoint a run's model is made from, and its errors (physical units) by split."""

    checkpoint: str
    net: dict[str, Any]
    metrics: dict[str, SplitMetrics]
    skipped: dict[str, int]
    history: list[dict[str, Any]]


def result_key(run: str, model: str) -> str:
    """Where the result of the run in folder `run` lies."""
    return f"{run}/results/pretrain/{model}.json"


def read_result(store: Store, run: str, model: str) -> PretrainResult | None:
    """The result, None where training is not finished yet."""
    key = result_key(run, model)
    return PretrainResult.read(store.get_json(key), key) if store.exists(key) else None


def load_net(store: Store, found: Found, spec: str | dict[str, Any], inputs: int) -> NetMember:
    """The net of a checkpoint, in physical units. `inputs` is F."""
    scaler = TargetScaler.from_json(found.scaler)
    full = resolve_net(spec)
    net = build_net(full, inputs, len(scaler.mean), seed=0)
    restore_weights(store, found, net)
    return NetMember(full, net.eval(), scaler)


def load_result_net(store: Store, result: PretrainResult, inputs: int) -> NetMember:
    """The net that a result speaks of."""
    return load_net(store, open_checkpoint(store, result.checkpoint), result.net, inputs)


def score(
    store: Store, found: Found, spec: str | dict[str, Any], dataset: Dataset, encoder: FractionEncoder
) -> PretrainResult:
    """Score a checkpoint on the validation and test rows that the encoder can hold."""
    member = load_net(store, found, spec, len(encoder.elements))
    metrics, skipped = {}, {}
    for split in ("val", "test"):
        rows = dataset.rows(split)
        x_BF, kept, skipped[split] = rows.encode(encoder)
        if len(x_BF):
            metrics[split] = split_metrics(rows.y_B[kept], member.predict(x_BF))
    scale = member.scaler.scale[0]
    history = [{**h, "loss": h["loss"] * scale, "val": _times(h["val"], scale)} for h in found.state.history]
    return PretrainResult(checkpoint=found.folder, net=member.spec, metrics=metrics, skipped=skipped, history=history)


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
