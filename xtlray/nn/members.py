"""The members of a model: live objects that predict, their records, and the files between the two.

Shape suffixes: B rows, F features, K members, P properties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from xtlray.errors import RequestError, StoreError
from xtlray.nn.heads import pack_head, unpack_head
from xtlray.nn.nets import build_net
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import load_weights, pack_tensors, under_prefix, unpack_tensors, with_prefix
from xtlray.records import Member

WEIGHTS = "weights.safetensors"
_ROWS_AT_ONCE = 8192  # bounds the memory of hidden activations: 8192 × 1024 floats are 32 MB

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
        """The fields of its `Member` record, but for names of files."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]: ...

    def head_file(self) -> bytes | None: ...


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
class NetMember:
    """A net with the scaler of its target(s).

    `heads` tell its outputs apart, in their order, where the net comes from a model that names them.
    """

    spec: dict[str, Any]
    net: Any
    scaler: TargetScaler
    heads: tuple[Head, ...] = ()

    @property
    def outputs(self) -> int:
        return len(self.scaler.mean)

    def predict_all(self, x_BF: NDArray[np.float32]) -> Array:
        """All properties in physical units, shape B × P."""
        return self.scaler.inverse(apply_in_chunks(self.net, x_BF).astype(np.float64))

    def predict(self, x_BF: NDArray[np.float32]) -> Array:
        return self.predict_all(x_BF)[:, 0]

    def features(self, x_BF: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
        """Hidden activations after `layer` layers, shape B × H."""
        return apply_in_chunks(lambda x: self.net.features(x, layer), x_BF)

    def describe(self) -> dict[str, Any]:
        return {"kind": "net", "net": self.spec, "scaler": self.scaler.as_json()}

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.net.state_dict()

    def head_file(self) -> bytes | None:
        return None


@dataclass
class HeadMember:
    """A scikit-learn regressor on the activations of a net's layer; it keeps its own copy of the net."""

    body: NetMember
    layer: int
    estimator: Any
    packed: bytes | None = None  # the file it was read from: packing again would give other bytes

    @property
    def outputs(self) -> int:
        return 1  # however many its net has

    def predict(self, x_BF: NDArray[np.float32]) -> Array:
        return np.asarray(self.estimator.predict(self.body.features(x_BF, self.layer)), dtype=np.float64)

    def predict_all(self, x_BF: NDArray[np.float32]) -> Array:
        return self.predict(x_BF)[:, np.newaxis]

    def describe(self) -> dict[str, Any]:
        return {**self.body.describe(), "kind": "head", "layer": self.layer}

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.body.tensors()

    def head_file(self) -> bytes | None:
        return pack_head(self.estimator) if self.packed is None else self.packed


@dataclass
class ConstantMember:
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

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def head_file(self) -> bytes | None:
        return None


def pack_members(members: Sequence[LiveMember]) -> tuple[list[Member], dict[str, bytes]]:
    """Records and files of the members of a model: all tensors in one file, a head file for each that has one."""
    records, tensors, files = [], {}, {}
    for k, member in enumerate(members):
        prefix, head = f"m{k}", member.head_file()
        own = with_prefix(prefix, member.tensors())
        name = f"{prefix}.skops" if head is not None else None
        if head is not None and name is not None:
            files[name] = head
        tensors.update(own)
        records.append(Member(**member.describe(), prefix=prefix if own else None, head=name))
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
    return [_unpack(record, tensors, files, inputs, where) for record in records]


def _unpack(
    record: Member, tensors: Mapping[str, torch.Tensor], files: Mapping[str, bytes], inputs: int, where: str
) -> LiveMember:
    if record.kind == "constant" and record.value is not None:
        return ConstantMember(record.value)
    if record.net is None or record.prefix is None or record.scaler is None:
        raise StoreError("A member of a model lacks its net", got=f"{where}: a {record.kind} without net or scaler")
    try:
        scaler = TargetScaler.from_json(record.scaler)
        net = build_net(record.net, inputs, len(scaler.mean), seed=0)
    except (RequestError, KeyError, ValueError) as error:  # what a card says is not what a user asked for
        raise StoreError("A member of a model describes no net of ours", got=f"{where}: {error}") from error
    load_weights(net, under_prefix(record.prefix, tensors), f"{where}/{WEIGHTS}")
    body = NetMember(record.net, net.eval(), scaler)
    if record.kind == "net":
        return body
    if record.head is None or record.head not in files or record.layer is None:
        raise StoreError("A member of a model lacks its head", got=f"{where}: {record.head}")
    if not 1 <= record.layer <= net.n_hidden:
        raise StoreError("A head reads a layer that its net lacks", got=f"{where}: layer {record.layer}")
    packed = files[record.head]
    return HeadMember(body, record.layer, unpack_head(packed, f"{where}/{record.head}"), packed)


def ensemble(members: Sequence[LiveMember], x_BF: NDArray[np.float32], column: int = 0) -> tuple[Array, Array, Array]:
    """Mean (B), spread (B, standard deviation over members, 0 for one) and each member's answer (K × B).

    `column` is the place of the property among those that the members answer for.
    """
    each_KB = np.stack([member.predict_all(x_BF)[:, column] for member in members])
    return each_KB.mean(axis=0), each_KB.std(axis=0), each_KB
