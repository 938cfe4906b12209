"""Models that somebody has tampered with: right in all but what a test is about. Hashes, sizes and the seal fit."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests import tiny
from xtlray.nn.features import Block, Features
from xtlray.nn.heads import pack_head
from xtlray.nn.members import ConstantMember, FeatureNetMember, HeadMember, LiveMember
from xtlray.nn.nets import build_net
from xtlray.nn.packing import WEIGHTS
from xtlray.nn.scaler import TargetScaler
from xtlray.registry.seal import seal_of
from xtlray.registry.versions import ModelRef
from xtlray.store import Store, canonical_json

NET, HEAD, FEATURE_NET, CONSTANT = range(4)
HEAD_FILE = f"m{HEAD}.skops"


@dataclass
class Forgery:
    """A published model in memory, to be changed and written.

    Attributes:
        card: as JSON.
        files: by name.
        honest: whether hashes and sizes on the card are those of the files as they are now.
        raw: the card's bytes, where they are to be others than those of `card`.
        seal: of the card; None for the right one.
        sealed: whether there is a seal at all.
    """

    card: dict[str, Any]
    files: dict[str, bytes]
    honest: bool = True
    raw: bytes | None = None
    seal: bytes | None = None
    sealed: bool = True
    extra: dict[str, bytes] = field(default_factory=dict)

    @property
    def member(self) -> list[dict[str, Any]]:
        """The records of its members: a net, a head and a net on features, a constant."""
        return self.card["members"]

    @property
    def source(self) -> str:
        """The file of the net that makes features."""
        return next(name for name in self.files if name.startswith("source-"))

    def rename(self, old: str, new: str) -> None:
        """Let the card call a file otherwise; it is not written under that name."""
        for table in ("files", "sizes"):
            self.card[table][new] = self.card[table].pop(old)
        self.honest = False

    def write(self, store: Store) -> ModelRef:
        """Write it as `user/gap@1`."""
        if self.honest:
            self.card["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
            self.card["sizes"] = {name: len(data) for name, data in self.files.items()}
        folder = "models/user/gap/1"
        raw = canonical_json(self.card) if self.raw is None else self.raw
        for name, data in {**self.files, **self.extra}.items():
            store.create(f"{folder}/{name}", data)
        if self.sealed:
            store.create(f"{folder}/card.sha256", seal_of(raw) if self.seal is None else self.seal)
        store.create(f"{folder}/card.json", raw)
        return ModelRef(store, "user/gap", 1)


def forgery() -> Forgery:
    """Nothing is wrong with it yet."""
    card, files = _original()
    return Forgery(copy.deepcopy(card), dict(files))


@cache
def _original() -> tuple[dict[str, Any], dict[str, bytes]]:
    """A model of one of each kind of members, as it is published."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        ref = tiny.model(store, members=members())
        card = ref.card()
        return card.as_json(), {name: store.get(f"{ref.folder}/{name}") for name in card.files}


def members() -> list[LiveMember]:
    """A net, a head and a net on what another net makes of a composition, and a constant."""
    features = Features((Block("fractions"), Block("activations", 1)), (tiny.net_member(3),), 86)
    h_BH = features.of(tiny.inputs(40))
    y_B = 3 + h_BH[:, 0].astype(float)
    head = HeadMember(features, regressor().fit(h_BH, y_B), (float(y_B.min()), float(y_B.max())))
    net = build_net(tiny.NET, h_BH.shape[1], 1, seed=5).eval()
    scaler = TargetScaler((3.0,), (1.0,))
    standardised = FeatureNetMember(features, tiny.NET, net, scaler, h_BH.mean(0), h_BH.std(0) + 1)
    return [tiny.net_member(1), head, standardised, ConstantMember(3.0)]


def regressor() -> Any:
    """Not fitted."""
    return make_pipeline(StandardScaler(), Ridge(alpha=0.1))


def rewrite(folder: Path, **changes: Any) -> None:
    """Change what the card in a folder says."""
    card = json.loads((folder / "card.json").read_bytes())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


# --- heads -----------------------------------------------------------------------------------------------------------


def with_head(estimator: Any, columns: int = 94) -> Callable[[Forgery], None]:
    """The model's head is another estimator, fitted on that many columns."""

    def forge(model: Forgery) -> None:
        x_BH = np.random.default_rng(0).random((30, columns))
        model.files[HEAD_FILE] = pack_head(estimator.fit(x_BH, x_BH[:, 0]))

    return forge


def schema_of(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The tree in a skops file, and its arrays."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(entries.pop("schema.json")), entries


def skops_file(schema: Any, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A skops file of these."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        archive.writestr("schema.json", schema if isinstance(schema, (bytes, str)) else json.dumps(schema))
    return buffer.getvalue()


def altered_head(change: Callable[[dict[str, Any], dict[str, bytes]], Any]) -> Callable[[Forgery], None]:
    """The model's head after a change of the tree in its file, or of its arrays."""

    def forge(model: Forgery) -> None:
        schema, entries = schema_of(model.files[HEAD_FILE])
        change(schema, entries)
        model.files[HEAD_FILE] = skops_file(schema, entries)

    return forge


def attributes_of(schema: dict[str, Any], step: int | None = None) -> dict[str, Any]:
    """The nodes of the pipeline's attributes, or of those of its step of that number."""
    found = schema["content"]["content"]
    if step is None:
        return found
    pair = found["steps"]["content"][step]["content"]
    return pair[1]["content"]["content"]


def node(loader: str, name: str, **more: Any) -> dict[str, Any]:
    """A node of the class `name`, with its module."""
    module, _, cls = name.rpartition(".")
    number = int(hashlib.sha256(repr((loader, name, sorted(more))).encode()).hexdigest()[:8], 16)
    return {"__class__": cls, "__module__": module, "__loader__": loader, "__id__": number, **more}


def value(of: Any) -> dict[str, Any]:
    """A node of a plain value."""
    return node("JsonNode", "builtins.str", content=json.dumps(of), is_json=True)


def put(evil: dict[str, Any]) -> Callable[[Forgery], None]:
    """The node lies where the pipeline keeps its `memory`."""
    return altered_head(lambda schema, entries: attributes_of(schema).update(memory=evil))


# --- weights ---------------------------------------------------------------------------------------------------------


def weights_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def weights_file(header: Any, numbers: bytes) -> bytes:
    """A safetensors file of these."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def altered_weights(change: Callable[[dict[str, Any]], Any]) -> Callable[[Forgery], None]:
    """The model's weights after a change of their header."""

    def forge(model: Forgery) -> None:
        header, numbers = weights_of(model.files[WEIGHTS])
        change(header)
        model.files[WEIGHTS] = weights_file(header, numbers)

    return forge
