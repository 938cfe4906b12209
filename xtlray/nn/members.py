"""The members of a model: live objects that predict, their records, and the files between the two.

Shape suffixes: B rows, F features, K members, P properties.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from xtlray.chem.fractions import ELEMNET_ELEMENTS
from xtlray.errors import RequestError, StoreError
from xtlray.nn.features import Block, Features, check_blocks
from xtlray.nn.heads import pack_head, unpack_head
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
_ROWS_AT_ONCE = 2048  # bounds the memory of hidden activations; more rows at once leave the cache and are slower

Array = NDArray[np.float64]


class LiveMember(Protocol):
    """Something that predicts, and can be taken apart into a record, tensors and a head file."""

    @property
    def outputs(self) -> int:
        """P, the number of properties that it answers for."""
        ...

    def predict(self, x_BF: NDArray[np.float32]) -> Array:
        """Predictions of the first property in physical units, shape B."""
        ...

    def predict_all(self, x_BF: NDArray[np.float32]) -> Array:
        """Predictions of all properties in physical units, shape B × P."""
        ...

    def describe(self) -> dict[str, Any]:
        """The fields of its `Member` record, but for names of its own files."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its own, if it has any."""
        return {}

    def head_file(self) -> bytes | None:
        """Its regressor, if it has one."""
        return None

    @property
    def sources(self) -> Sequence[NetMember]:
        """The nets that make its features; members of one model share their files."""
        return ()


def apply_in_chunks(function: Any, x_BF: NDArray[np.float32]) -> NDArray[np.float32]:
    """`function` over chunks of rows, without gradients; float32 on the CPU, the same whatever the chunking."""
    with torch.inference_mode():
        x = torch.tensor(np.asarray(x_BF, dtype=np.float32))
        parts = [function(chunk).float().numpy() for chunk in x.split(_ROWS_AT_ONCE)]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Head:
    """What an output of a net answers for: the name of a property, and its unit (None where it is not known)."""

    property: str
    unit: str | None


@dataclass
class NetMember(LiveMember):
    """A net with the scaler of its target(s).

    `heads` tell its outputs apart, in their order, where the net comes from a model that names them. It reads the
    first `fractions` columns of its input.
    """

    spec: dict[str, Any]
    net: Any
    scaler: TargetScaler
    heads: tuple[Head, ...] = ()
    fractions: int = len(ELEMNET_ELEMENTS)

    @property
    def outputs(self) -> int:
        return len(self.scaler.mean)

    def predict_all(self, x_BX: NDArray[np.float32]) -> Array:
        """All properties in physical units, shape B × P."""
        return self.scaler.inverse(apply_in_chunks(self.net, x_BX[:, : self.fractions]).astype(np.float64))

    def predict(self, x_BX: NDArray[np.float32]) -> Array:
        return self.predict_all(x_BX)[:, 0]

    def features(self, x_BX: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
        """Hidden activations after `layer` layers, shape B × H."""
        return apply_in_chunks(lambda x: self.net.features(x, layer), x_BX[:, : self.fractions])

    def describe(self) -> dict[str, Any]:
        return {"kind": "net", "net": self.spec, "scaler": self.scaler.as_json()}

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.net.state_dict()

    @cached_property
    def as_source(self) -> tuple[str, bytes]:
        """Name and content of the file that holds it as a source of features. The net must not change any more."""
        data = pack_tensors(self.net.state_dict())
        return f"source-{hashlib.sha256(data).hexdigest()[:12]}.safetensors", data


@dataclass
class HeadMember(LiveMember):
    """A scikit-learn regressor on features of a composition.

    Its answers stay within `bounds`: a linear one, far from what it was fitted on, would else answer anything. With
    a `scaler`, what the regressor says is mapped back by it.
    """

    features: Features
    estimator: Any
    bounds: tuple[float, float] | None = None
    scaler: TargetScaler | None = None
    packed: bytes | None = None  # the file it was read from: packing again would give other bytes

    @property
    def outputs(self) -> int:
        return 1  # however many its sources have

    def predict(self, x_BX: NDArray[np.float32]) -> Array:
        return self.answer(self.features.of(x_BX))

    def answer(self, h_BH: NDArray[np.float32]) -> Array:
        """Predictions from features, shape B."""
        answer_B = np.asarray(self.estimator.predict(h_BH), dtype=np.float64)
        if self.scaler is not None:
            answer_B = self.scaler.inverse(answer_B[:, np.newaxis])[:, 0]
        return answer_B if self.bounds is None else answer_B.clip(*self.bounds)

    def predict_all(self, x_BX: NDArray[np.float32]) -> Array:
        return self.predict(x_BX)[:, np.newaxis]

    def describe(self) -> dict[str, Any]:
        scaler = self.scaler.as_json() if self.scaler else None
        return {"kind": "head", "bounds": self.bounds, "scaler": scaler, **_describe(self.features)}

    def head_file(self) -> bytes | None:
        return pack_head(self.estimator) if self.packed is None else self.packed

    @property
    def sources(self) -> Sequence[NetMember]:
        return self.features.sources


@dataclass
class FeatureNetMember(LiveMember):
    """A net on features of a composition, each column standardised as in the training rows.

    Attributes:
        center_H: float32, subtracted from each column; `spread_H`: what it is then divided by.
    """

    features: Features
    spec: dict[str, Any]
    net: Any
    scaler: TargetScaler
    center_H: NDArray[np.float32]
    spread_H: NDArray[np.float32]

    @property
    def outputs(self) -> int:
        return len(self.scaler.mean)

    def predict_all(self, x_BX: NDArray[np.float32]) -> Array:
        return self._answer_all(self.features.of(x_BX))

    def predict(self, x_BX: NDArray[np.float32]) -> Array:
        return self.predict_all(x_BX)[:, 0]

    def answer(self, h_BH: NDArray[np.float32]) -> Array:
        """Predictions from features, shape B."""
        return self._answer_all(h_BH)[:, 0]

    def _answer_all(self, h_BH: NDArray[np.float32]) -> Array:
        h_BH = (h_BH - self.center_H) / self.spread_H
        return self.scaler.inverse(apply_in_chunks(self.net, h_BH).astype(np.float64))

    def describe(self) -> dict[str, Any]:
        own = {"kind": "feature-net", "net": self.spec, "scaler": self.scaler.as_json()}
        return {**own, **_describe(self.features)}

    def tensors(self) -> dict[str, torch.Tensor]:
        columns = {"center": self.center_H, "spread": self.spread_H}
        return {
            **with_prefix("net", self.net.state_dict()),
            **with_prefix("columns", {name: torch.from_numpy(value) for name, value in columns.items()}),
        }

    @property
    def sources(self) -> Sequence[NetMember]:
        return self.features.sources


def _describe(features: Features) -> dict[str, Any]:
    sources = [
        {"net": source.spec, "scaler": source.scaler.as_json(), "file": source.as_source[0]}
        for source in features.sources
    ]
    return {"blocks": [block.as_json() for block in features.blocks], "sources": sources}


@dataclass
class ConstantMember(LiveMember):
    """The same answer for every row: what any model has to beat."""

    value: float

    @property
    def outputs(self) -> int:
        return 1

    def predict(self, x_BF: NDArray[np.float32]) -> Array:
        return np.full(len(x_BF), self.value)

    def predict_all(self, x_BF: NDArray[np.float32]) -> Array:
        return self.predict(x_BF)[:, np.newaxis]

    def describe(self) -> dict[str, Any]:
        return {"kind": "constant", "value": self.value}


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


def ensemble(members: Sequence[LiveMember], x_BF: NDArray[np.float32], column: int = 0) -> tuple[Array, Array, Array]:
    """Mean (B), spread (B, standard deviation over members, 0 for one) and each member's answer (K × B).

    `column` is the place of the property among those that the members answer for.
    """
    each_KB = answers_of(members, x_BF, column)
    return each_KB.mean(axis=0), each_KB.std(axis=0), each_KB


def answers_of(members: Sequence[LiveMember], x_BF: NDArray[np.float32], column: int = 0) -> Array:
    """Each member's answer, K × B."""
    return np.stack([member.predict_all(x_BF)[:, column] for member in members])
