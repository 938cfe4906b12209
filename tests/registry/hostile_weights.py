"""Hostile members and weights: name → the reason for which they are refused, and what is done to the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tests.registry.forging import CONSTANT, FEATURE_NET, HEAD, NET, Forgery, altered_weights, weights_file, weights_of
from xtlray.nn.packing import WEIGHTS
from xtlray.nn.tensors import pack_tensors, unpack_tensors

Forge = Callable[[Forgery], Any]
_FIRST = f"m{NET}.hidden.0.weight"


def net(number: int = NET, **spec: Any) -> Forge:
    """A member describes its net so."""
    return lambda model: model.member[number].update(net={"name": "elemnet", **spec})


def says(number: int, **fields: Any) -> Forge:
    """The record of a member says so."""
    return lambda model: model.member[number].update(fields)


def scaled(mean: Any, scale: Any) -> Forge:
    return says(NET, scaler={"mean": mean, "scale": scale})


def tensors(change: Callable[[dict[str, torch.Tensor]], Any], name: str = WEIGHTS) -> Forge:
    """A weights file after a change of its tensors."""

    def forge(model: Forgery) -> None:
        name_or_source = model.source if name == "source" else name
        found = unpack_tensors(model.files[name_or_source], "test")
        change(found)
        model.files[name_or_source] = pack_tensors(found)

    return forge


def first(index: int, number: float) -> Callable[[dict[str, torch.Tensor]], None]:
    """One of the numbers of the first tensor is another."""

    def change(found: dict[str, torch.Tensor]) -> None:
        found[sorted(found)[0]].view(-1)[index] = number

    return change


def bytes_of(change: Callable[[bytes], bytes]) -> Forge:
    return lambda model: model.files.update({WEIGHTS: change(model.files[WEIGHTS])})


def moved(begin: int, end: int) -> Forge:
    """Four numbers, of 16 bits each, lie elsewhere."""
    return altered_weights(lambda header: header[f"m{NET}.hidden.1.bias"].update(data_offsets=[begin, end]))


def shaped(*shape: Any) -> Forge:
    return altered_weights(lambda header: header[_FIRST].update(shape=list(shape)))


def as_integers(header: dict[str, Any]) -> None:
    header[_FIRST]["dtype"] = "I32"


def doubled(model: Forgery) -> None:
    """Its header names a tensor twice, which JSON's usual readers do not notice."""
    header, numbers = weights_of(model.files[WEIGHTS])
    text = weights_file(header, b"")[8:]
    entry = f'"{_FIRST}": {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, '.encode()
    model.files[WEIGHTS] = weights_file(text.replace(b"{", b"{" + entry, 1), numbers)


def source(**fields: Any) -> Forge:
    return lambda model: model.member[HEAD]["sources"][0].update(fields)


def sources_without_number(model: Forgery) -> None:
    described = {"file": "a"}
    model.card["members"] += [{**model.member[HEAD], "head": f"h{k}", "sources": [described] * 200} for k in range(60)]


def blocks(*found: dict[str, Any]) -> Forge:
    return says(HEAD, blocks=list(found))


def constant_with_weights(model: Forgery) -> None:
    model.member[CONSTANT].update(prefix=f"m{NET}")
    model.member.pop(NET)


def same_head(model: Forgery) -> None:
    model.card["members"].append({**model.member[HEAD], "prefix": None})


def spread(number: float) -> Forge:
    return tensors(lambda found: found[f"m{FEATURE_NET}.columns.spread"].fill_(number))


NETS: dict[str, tuple[str, Forge]] = {
    "a layer of a billion": ("no net of ours.*less than or equal", net(hidden=[10**9])),
    "a hundred thousand layers": ("no net of ours.*at most 512 items", net(hidden=[1] * 10**5)),
    "wide layers beyond any file": ("do not fit.*1006 differences", net(hidden=[2**17] * 500)),
    "a layer of none": ("no net of ours.*greater than", net(hidden=[0])),
    "no layers": ("no net of ours.*at least 1 item", net(hidden=[])),
    "a text for layers": ("no net of ours", net(hidden="wide")),
    "blocks without end": ("no net of ours.*less than or equal", net(name="deepsets", blocks=10**12)),
    "a setting that is none": ("no net of ours.*unpickle", net(unpickle="x")),
    "a net that is none": ("no net of ours.*no net of that name", net(name="os.system")),
    "a net that is no word": ("no net of ours.*unhashable", net(name=["elemnet"])),
    "another net": ("do not fit", net(hidden=[8, 5])),
    "no net": ("lacks its net", says(NET, net=None)),
    "a hundred thousand outputs": ("no net of ours.*100000 properties", scaled([0.0] * 10**5, [1.0] * 10**5)),
    "means without scales": ("no net of ours.*2 means and 1 scales", scaled([0.0, 1.0], [1.0])),
    "a scale of zero": ("no net of ours.*a scale of", scaled([0.0], [0.0])),
    "a scale below zero": ("no net of ours.*a scale of", scaled([0.0], [-1.0])),
    "two outputs for one property": ("do not fit.*output.bias", scaled([0.0, 0.0], [1.0, 1.0])),
    "weights of two members": ("share a prefix", says(FEATURE_NET, prefix=f"m{NET}")),
    "weights within weights": ("no prefix of ours", says(FEATURE_NET, prefix=f"m{NET}.hidden")),
    "a constant without value": ("a constant without one", says(CONSTANT, value=None)),
    "a constant with weights": ("do not fit", constant_with_weights),
    "no source": ("lacks a source of its features", source(file="source-000000000000.safetensors")),
    "a file of the system for a source": ("lacks a source of its features", source(file="/etc/passwd")),
    "a head for a source": ("damaged or cut short.*a header of", source(file=f"m{HEAD}.skops")),
    "a source of another shape": ("do not fit", source(net={"name": "elemnet", "hidden": [9, 4]})),
    "a source without a scaler": ("lacks its net", source(scaler=None)),
    "a layer that is not there": ("layer 9 of 2", blocks({"kind": "activations", "layer": 9})),
    "a source that is not there": ("source 7 of 1", blocks({"kind": "answers", "source": 7})),
    "a source before the first": ("source -1 of 1", blocks({"kind": "answers", "source": -1})),
    "blocks without number": ("too many blocks", blocks(*[{"kind": "fractions"}] * 10_000)),
    "sources without number": ("name too many sources.*12002", sources_without_number),
    "no head": ("lacks its head", says(HEAD, head=None)),
    "a head that is not there": ("lacks its head", says(HEAD, head="../m1.skops")),
    "a head of two members": ("share a head", same_head),
    "other columns than its head has": ("reads other columns", blocks({"kind": "fractions"})),
    "bounds that are none": ("between no bounds", says(HEAD, bounds=[1.0, -1.0])),
    "columns divided by zero": ("lacks the scales of its columns", spread(0.0)),
    "columns divided by less": ("lacks the scales of its columns", spread(-1.0)),
}

WEIGHTS_FILES: dict[str, tuple[str, Forge]] = {
    "cut short": ("damaged or cut short", bytes_of(lambda data: data[:-1])),
    "more than there is": ("damaged or cut short", bytes_of(lambda data: data + b"\0")),
    "nothing but a length": ("damaged or cut short.*header of", bytes_of(lambda data: b"\xff" * 8)),
    "a header of its whole": ("not the JSON", bytes_of(lambda data: (len(data) - 8).to_bytes(8, "little") + data[8:])),
    "a header that is none": (
        "header of a weights file is not the JSON",
        bytes_of(lambda data: weights_file(b"{", b"")),
    ),
    "a header of a list": ("damaged or cut short.*no mapping", bytes_of(lambda data: weights_file([], b""))),
    "a tensor twice": ("is there twice", doubled),
    "a pickle": ("damaged or cut short", bytes_of(lambda data: b"\x80\x04cos\nsystem\n(S'true'\ntR.")),
    "a tensor of whole numbers": ("a tensor of I32, not of F16 or F32", altered_weights(as_integers)),
    "a shape beyond its bytes": ("a shape of .* in 2752 bytes", shaped(2**31, 2**31)),
    "a shape below zero": ("a shape of", shaped(-8, -86)),
    "a shape that is no number": ("a shape of", shaped(8.0, 86.0)),
    "a shape of a hundred axes": ("a shape of", shaped(*[1] * 100)),
    "tensors one over another": ("lies at 0 to 2752, and 8 comes next", moved(0, 8)),
    "a tensor behind the end": ("lies at 6824 to 6826, and 6816 comes next", moved(10**12, 10**12 + 8)),
    "a tensor before the beginning": ("a shape of", moved(-8, 0)),
    "a tensor that nobody has": ("tensors of no member.*m9", tensors(lambda t: t.update({"m9.x": torch.zeros(2)}))),
    "a tensor too many": ("do not fit.*hidden.9", tensors(lambda t: t.update({"m0.hidden.9.bias": torch.zeros(2)}))),
    "a tensor too few": ("do not fit.*hidden.0.weight", tensors(lambda t: t.pop(_FIRST))),
    "a weight that is no number": ("not finite", tensors(first(0, math.nan))),
    "an infinite weight": ("not finite", tensors(first(1, -math.inf))),
    "a source of no numbers": ("not finite.*source-", tensors(first(0, math.nan), "source")),
}
CASES = {
    **{f"member: {name}": case for name, case in NETS.items()},
    **{f"weights: {name}": case for name, case in WEIGHTS_FILES.items()},
}
