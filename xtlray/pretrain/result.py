"""The result of a pretraining: its last checkpoint scored once, created once, so that every later reader agrees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pydantic import Field

from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset
from xtlray.data.overlap import among
from xtlray.nn.members import NetMember
from xtlray.nn.nets import build_net, resolve_net
from xtlray.nn.scaler import TargetScaler
from xtlray.pretrain.checkpoints import Found, open_checkpoint, restore_weights
from xtlray.records import Record, Split, SplitMetrics
from xtlray.store import Store
from xtlray.training.metrics import split_metrics

HELD_OUT: tuple[Split, ...] = ("val", "test")


class PretrainResult(Record):
    """Which checkpoint a run's model is made from, and its errors (physical units)."""

    SCHEMA: ClassVar[int] = 2  # 2: by property
    schema_version: int = 2
    checkpoint: str
    net: dict[str, Any]
    metrics: dict[str, dict[str, SplitMetrics]] = Field(description="by name of dataset, by split")
    skipped: dict[str, dict[str, int]] = Field(
        description="rows that hold an element which the input cannot hold, by name of dataset, by split"
    )
    history: list[dict[str, Any]] = Field(description="by epoch; see `physical`")


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
    store: Store,
    found: Found,
    spec: str | dict[str, Any],
    datasets: Sequence[Dataset],
    encoder: FractionEncoder,
    excluded: frozenset[bytes] = frozenset(),
) -> PretrainResult:
    """Score a checkpoint on each property's own validation and test rows that the encoder can hold.

    Args:
        store: where the checkpoint lies.
        found: the checkpoint.
        spec: its net.
        datasets: one per output of the net, in this order.
        encoder: makes inputs of compositions.
        excluded: compositions that are no validation rows: what chooses among models is not to see them.
    """
    member = load_net(store, found, spec, len(encoder.elements))
    assert member.outputs == len(datasets), "a property per output"
    metrics: dict[str, dict[str, SplitMetrics]] = {}
    skipped: dict[str, dict[str, int]] = {}
    for p, dataset in enumerate(datasets):
        name = dataset.card.name
        metrics[name], skipped[name] = {}, {}
        for split in HELD_OUT:
            rows = dataset.rows(split)
            x_BF, kept, skipped[name][split] = rows.encode(encoder)
            if split == "val" and excluded:
                mine_B = ~among(rows.compositions.take(kept), excluded)
                x_BF, kept = x_BF[mine_B], kept[mine_B]
            if len(x_BF):
                metrics[name][split] = split_metrics(rows.y_B[kept], member.predict_all(x_BF)[:, p])
    history = physical(found.state.history, member.scaler.scale)
    return PretrainResult(checkpoint=found.folder, net=member.spec, metrics=metrics, skipped=skipped, history=history)


def physical(history: Iterable[dict[str, Any]], scale_P: Sequence[float]) -> list[dict[str, Any]]:
    """A history in scaled units → in physical ones: `loss`, `val` of the first property, `losses`, `vals` of each."""
    changed = []
    for entry in history:
        new = {**entry, "loss": _times(entry["loss"], scale_P[0]), "val": _times(entry["val"], scale_P[0])}
        for key in ("losses", "vals"):
            if key in entry:
                new[key] = [_times(value, scale) for value, scale in zip(entry[key], scale_P, strict=True)]
        changed.append(new)
    return changed


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
