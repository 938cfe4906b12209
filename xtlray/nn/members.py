"""The members of a model: live objects that predict, their records, and the files between the two.

Shape suffixes: B rows, F features, K members, P properties.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from xtlray.chem.fractions import ELEMNET_ELEMENTS
from xtlray.nn.features import Features
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import (
    pack_tensors,
    with_prefix,
)

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
        return apply_in_chunks(lambda x: self.net.activations(x, (layer,))[layer], x_BX[:, : self.fractions])

    def look(self, x_BX: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], Array]:
        """All that it makes of rows, in one pass: activations of each hidden layer, B × H; what `predict_all` says."""
        widths: list[int] = []

        def all_of(x_BF: torch.Tensor) -> torch.Tensor:
            found = self.net.activations(x_BF, range(1, self.net.n_hidden + 1))
            parts = [*found.values(), self.net.answer(found[self.net.n_hidden], x_BF)]
            widths[:] = [part.shape[1] for part in parts]
            return torch.cat([part.float() for part in parts], dim=1)

        every_BH = apply_in_chunks(all_of, x_BX[:, : self.fractions])
        *layers, scaled_BP = np.split(every_BH, np.cumsum(widths)[:-1], axis=1)
        # Each on its own: a layer that is dropped later must not live on in the whole.
        return [layer.copy() for layer in layers], self.scaler.inverse(scaled_BP.astype(np.float64))

    @cached_property
    def width(self) -> int:
        """How many numbers `look` makes of a row."""
        layers, answer_BP = self.look(np.full((1, self.fractions), 1 / self.fractions, np.float32))
        return sum(layer.shape[1] for layer in layers) + answer_BP.shape[1]

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
        from xtlray.nn.heads import pack_head  # here: scikit-learn takes longer than torch, and a net has no use for it

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


def ensemble(members: Sequence[LiveMember], x_BF: NDArray[np.float32], column: int = 0) -> tuple[Array, Array, Array]:
    """Mean (B), spread (B, standard deviation over members, 0 for one) and each member's answer (K × B).

    `column` is the place of the property among those that the members answer for.
    """
    each_KB = answers_of(members, x_BF, column)
    return each_KB.mean(axis=0), each_KB.std(axis=0), each_KB


def answers_of(members: Sequence[LiveMember], x_BF: NDArray[np.float32], column: int = 0) -> Array:
    """Each member's answer, K × B."""
    return np.stack([member.predict_all(x_BF)[:, column] for member in members])
