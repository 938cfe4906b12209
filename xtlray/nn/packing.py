"""Members of a model ↔ records and files: what is written when one is published, and checked when one is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from xtlray.errors import RequestError, StoreError
from xtlray.nn.features import Block, Features, check_blocks
from xtlray.nn.heads import unpack_head
from xtlray.nn.members import ConstantMember, FeatureNetMember, HeadMember, LiveMember, NetMember
from xtlray.nn.nets import build_net
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import (
    load_weights,
    pack_tensors,
    smallest,
    under_prefix,
    unpack_tensors,
    widened,
    with_prefix,
)
from xtlray.records import Member

WEIGHTS = "weights.safetensors"


def pack_members(members: Sequence[LiveMember]) -> tuple[list[Member], dict[str, bytes]]:
    """Records and files of the members of a model: all tensors in one file, a head file for each that has one.

    A net that makes features is a file of its own, however many members read it. Numbers that 16 bits hold exactly
    take 16 bits.
    """
    records, tensors, files = [], {}, {}
    for k, member in enumerate(members):
        prefix, head = f"m{k}", member.head_file()
        own = with_prefix(prefix, member.tensors())
        name = f"{prefix}.skops" if head is not None else None
        if head is not None and name is not None:
            files[name] = head
        tensors.update({key: smallest(value) for key, value in own.items()})
        files.update(source.as_source for source in member.sources)
        records.append(Member(**member.describe(), prefix=prefix if own else None, head=name))
    if tensors:
        files[WEIGHTS] = pack_tensors(tensors)
    return records, files


def join_packed(packed: Sequence[tuple[Member, Mapping[str, bytes]]]) -> tuple[list[Member], dict[str, bytes]]:
    """Records and files of one model, of members that were packed one by one. Heads and sources stay as they are.

    Raises:
        StoreError: a weights file is damaged.
    """
    records, tensors, files = [], {}, {}
    for k, (record, own) in enumerate(packed):
        prefix = f"m{k}" if record.prefix else None
        head = f"m{k}.skops" if record.head else None
        for name, data in own.items():
            if name == WEIGHTS:
                mine = under_prefix(record.prefix or "", unpack_tensors(data, name))
                tensors.update(with_prefix(f"m{k}", mine))
            else:
                files[head if head and name == record.head else name] = data
        records.append(record.model_copy(update={"prefix": prefix, "head": head}))
    if tensors:
        files[WEIGHTS] = pack_tensors(tensors)
    return records, files


def unpack_members(records: Sequence[Member], files: Mapping[str, bytes], inputs: int, where: str) -> list[LiveMember]:
    """The members again. `inputs` is F. Raises `StoreError` where files are missing, damaged or do not fit."""
    tensors = unpack_tensors(files[WEIGHTS], f"{where}/{WEIGHTS}") if WEIGHTS in files else {}
    owned = tuple(f"{record.prefix}." for record in records if record.prefix)
    strange = sorted(name for name in tensors if not name.startswith(owned))
    if strange:
        raise StoreError(
            "A weights file holds tensors of no member", got=f"{where}/{WEIGHTS}: {', '.join(strange[:5])}"
        )
    tensors = {name: widened(value) for name, value in tensors.items()}
    sources = _Sources(files, inputs, where)
    return [_unpack(record, tensors, files, sources, inputs, where) for record in records]


class _Sources:
    """The nets that make features, each read once however many members read them."""

    def __init__(self, files: Mapping[str, bytes], inputs: int, where: str) -> None:
        self.files, self.inputs, self.where = files, inputs, where
        self.known: dict[str, NetMember] = {}

    def get(self, described: Mapping[str, Any]) -> NetMember:
        """The source of that description. Raises `StoreError` where its file is missing or does not fit."""
        name = str(described.get("file"))
        if name not in self.files:
            raise StoreError("A member of a model lacks a source of its features", got=f"{self.where}: {name}")
        key = json.dumps(described, sort_keys=True)  # equal weights may be described in two ways
        if key not in self.known:
            tensors = unpack_tensors(self.files[name], f"{self.where}/{name}")
            net, scaler = described.get("net"), described.get("scaler")
            self.known[key] = _net(net, scaler, tensors, self.inputs, self.where)
        return self.known[key]


def _unpack(
    record: Member,
    tensors: Mapping[str, torch.Tensor],
    files: Mapping[str, bytes],
    shared: _Sources,
    inputs: int,
    where: str,
) -> LiveMember:
    if record.kind == "constant":
        if record.value is None:
            raise StoreError("A member of a model lacks its value", got=f"{where}: a constant without one")
        return ConstantMember(record.value)
    own = under_prefix(record.prefix, tensors) if record.prefix else {}
    weights = f"{where}/{WEIGHTS}"
    if record.kind == "net":
        return _net(record.net, record.scaler, own, inputs, where)
    features = _features(record, own, shared, inputs, where)
    if record.kind == "feature-net":
        columns = under_prefix("columns", own)
        width = features.width
        if set(columns) != {"center", "spread"} or any(value.shape != (width,) for value in columns.values()):
            raise StoreError("A net on features lacks the scales of its columns", got=weights)
        center, spread = (columns[name].numpy().astype(np.float32) for name in ("center", "spread"))
        body = _net(record.net, record.scaler, under_prefix("net", own), len(center), where)
        return FeatureNetMember(features, body.spec, body.net, body.scaler, center, spread)
    if record.head is None or record.head not in files:
        raise StoreError("A member of a model lacks its head", got=f"{where}: {record.head}")
    packed = files[record.head]
    head = unpack_head(packed, f"{where}/{record.head}")
    if head.n_features_in_ != features.width:
        got = f"{where}/{record.head}: {head.n_features_in_} columns, not {features.width}"
        raise StoreError("A head reads other columns than its member has", got=got)
    scaler = _scaler(record.scaler, where) if record.scaler and record.blocks is not None else None
    return HeadMember(features, head, record.bounds, scaler, packed)


def _scaler(value: Mapping[str, Sequence[float]], where: str) -> TargetScaler:
    try:
        return TargetScaler.from_json(value)
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError("A member of a model has no scaler of ours", got=f"{where}: {error}") from error


def _net(
    spec: dict[str, Any] | None,
    scaler: dict[str, list[float]] | None,
    tensors: Mapping[str, torch.Tensor],
    inputs: int,
    where: str,
) -> NetMember:
    if spec is None or scaler is None:
        raise StoreError("A member of a model lacks its net", got=f"{where}: a net without description or scaler")
    try:
        target = TargetScaler.from_json(scaler)
        net = build_net(spec, inputs, len(target.mean), seed=0)
    except (RequestError, KeyError, ValueError, TypeError) as error:  # what a card says is not what a user asked for
        raise StoreError("A member of a model describes no net of ours", got=f"{where}: {error}") from error
    load_weights(net, tensors, f"{where}/{WEIGHTS}")
    return NetMember(spec, net.eval(), target, fractions=inputs)


def _features(record: Member, own: Mapping[str, torch.Tensor], shared: _Sources, inputs: int, where: str) -> Features:
    """Of a head or a net on features.

    In an old card a member has its own copies of its sources; in one older still it names one layer of its one net.
    """
    if record.blocks is None:
        sources = [_net(record.net, record.scaler, own, inputs, where)]
        blocks = [Block("activations", record.layer)]
    else:
        sources = [
            shared.get(each)
            if "file" in each
            else _net(each.get("net"), each.get("scaler"), under_prefix(f"source{k}", own), inputs, where)
            for k, each in enumerate(record.sources)
        ]
        blocks = [Block(block.kind, block.layer, block.source) for block in record.blocks]
    wrong = check_blocks(blocks, [source.net.n_hidden for source in sources])
    if wrong:
        raise StoreError("A member of a model reads what there is not", got=f"{where}: {wrong}")
    return Features(tuple(blocks), tuple(sources), inputs)
