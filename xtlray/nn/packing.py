"""Members of a model ↔ records and files: what is written when one is published, and checked when one is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from xtlray.errors import StoreError
from xtlray.nn.checks import WEIGHTS, check_members, no_scales
from xtlray.nn.features import Block, Features, check_blocks
from xtlray.nn.limits import MOST_WIDTH
from xtlray.nn.members import ConstantMember, FeatureNetMember, HeadMember, LiveMember, NetMember
from xtlray.nn.nets import build_net
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import (
    by_prefix,
    check_finite,
    load_weights,
    pack_tensors,
    smallest,
    under_prefix,
    unpack_tensors,
    widened,
    with_prefix,
)
from xtlray.records import Member
from xtlray.strict import in_short


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
    """The members again. `inputs` is F.

    What the records say is compared with the headers of the files first: no tensor is made of what does not fit, and
    no net larger than its file is built.

    Raises:
        StoreError: files are missing, damaged or do not fit.
    """
    check_members(records, files, inputs, where)
    tensors = unpack_tensors(files[WEIGHTS], f"{where}/{WEIGHTS}") if WEIGHTS in files else {}
    check_finite(tensors, f"{where}/{WEIGHTS}")
    owned = by_prefix({name: widened(value) for name, value in tensors.items()})
    sources = _Sources(files, inputs, where)
    return [_unpack(record, owned.get(record.prefix or "", {}), files, sources, inputs, where) for record in records]


class _Sources:
    """The nets that make features, each read once however many members read them."""

    def __init__(self, files: Mapping[str, bytes], inputs: int, where: str) -> None:
        self.files, self.inputs, self.where = files, inputs, where
        self.known: dict[str, NetMember] = {}
        self.nets: dict[str, NetMember] = {}

    def get(self, described: Mapping[str, Any]) -> NetMember:
        """The source of that description. Raises `StoreError` where its file is missing or does not fit."""
        name = str(described["file"])
        key = json.dumps(described, sort_keys=True)  # equal weights may be described in two ways
        if key not in self.known:
            self.known[key] = self._read(name, described)
        return self.known[key]

    def _read(self, name: str, described: Mapping[str, Any]) -> NetMember:
        spec, scaler = described["net"], described["scaler"]
        if name in self.nets:  # in other units: another scaler on the very same net, which need not be there twice
            target = _scaler(scaler, self.where)
            return NetMember(spec, self.nets[name].net, target, fractions=self.inputs)
        tensors = unpack_tensors(self.files[name], f"{self.where}/{name}")
        check_finite(tensors, f"{self.where}/{name}")
        self.nets[name] = _net(spec, scaler, tensors, self.inputs, self.where)
        return self.nets[name]


def _unpack(
    record: Member,
    own: Mapping[str, torch.Tensor],
    files: Mapping[str, bytes],
    shared: _Sources,
    inputs: int,
    where: str,
) -> LiveMember:
    if record.kind == "constant":
        assert record.value is not None, "checked before"
        return ConstantMember(record.value)
    if record.kind == "net":
        return _net(record.net, record.scaler, own, inputs, where)
    features = _features(record, own, shared, inputs, where)
    if record.kind == "feature-net":
        columns = under_prefix("columns", own)
        center, spread = (columns[name].numpy().astype(np.float32) for name in ("center", "spread"))
        if len(center) != features.width or not (spread > 0).all():
            raise no_scales(f"{where}/{WEIGHTS}: of {len(center)} columns, and it reads {features.width}")
        body = _net(record.net, record.scaler, under_prefix("net", own), len(center), where)
        return FeatureNetMember(features, body.spec, body.net, body.scaler, center, spread)
    assert record.head is not None, "checked before"
    from xtlray.nn.heads import unpack_head  # here: scikit-learn takes longer than torch, and a net has no use for it

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
        raise StoreError("A member of a model has no scaler of ours", got=in_short(f"{where}: {error}")) from error


def _net(
    spec: dict[str, Any] | None,
    scaler: dict[str, list[float]] | None,
    tensors: Mapping[str, torch.Tensor],
    inputs: int,
    where: str,
) -> NetMember:
    assert spec is not None, "checked before"
    assert scaler is not None, "checked before"
    target = _scaler(scaler, where)
    net = build_net(spec, inputs, len(target.mean), seed=0)
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
    features = Features(tuple(blocks), tuple(sources), inputs)
    if not wrong and features.width > MOST_WIDTH:
        wrong = f"{features.width} columns, and at most {MOST_WIDTH} may be"
    if wrong:
        raise StoreError("A member of a model reads what there is not", got=f"{where}: {wrong}")
    return features
