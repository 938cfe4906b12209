"""Tensors ↔ bytes, by safetensors: a flat file of named arrays that can execute nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from xtlray.errors import StoreError
from xtlray.nn.limits import MOST_HEADER_BYTES
from xtlray.strict import in_short, read_json

T = TypeVar("T")
Shapes = dict[str, tuple[int, ...]]
_MOST_AXES = 8
_BYTES = {"F16": 2, "F32": 4}  # of a number of each type that weights may have


def pack_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors as one safetensors file; equal tensors give equal bytes."""
    return save({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)})


def rounded(tensor: Tensor) -> Tensor:
    """A float32 tensor rounded to what 16 bits hold; as it was where a number is too large for them."""
    half = tensor.half().float()
    return half if bool(torch.isfinite(half).all()) else tensor


def smallest(tensor: Tensor) -> Tensor:
    """The same numbers in 16 bits, where these hold each of them exactly."""
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if bool((half.float() == tensor).all()) else tensor


def widened(tensor: Tensor) -> Tensor:
    """Back from `smallest`."""
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def read_shapes(data: bytes, where: str) -> Shapes:
    """The shapes of the tensors in a weights file, from its header alone: no tensor is made.

    The header is a length of eight bytes and that much JSON, which names each tensor's type, shape and place.

    Raises:
        StoreError: the file is damaged, or what its header says is not what lies behind it: every byte belongs to
            one tensor of 16 or 32 bit floating-point numbers.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MOST_HEADER_BYTES):
        raise _damaged(where, f"a header of {length:,} bytes in a file of {len(data):,}")
    header = read_json(data[8 : 8 + length], where, MOST_HEADER_BYTES, "The header of a weights file")
    try:
        if not isinstance(header, dict):
            raise TypeError("no mapping of names")
        header.pop("__metadata__", None)
        entries = sorted((_entry(said), name) for name, said in header.items())
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(where, in_short(f"its header: {type(error).__name__}: {error}")) from error
    place = 0
    for (begin, end, _), name in entries:
        if begin != place or end < begin:
            raise _damaged(where, in_short(f"{name} lies at {begin} to {end}, and {place} comes next"))
        place = end
    if place != len(data) - 8 - length:
        raise _damaged(where, f"{len(data) - 8 - length:,} bytes of numbers, and its header speaks of {place:,}")
    return {name: shape for (_, _, shape), name in entries}


def _entry(said: Any) -> tuple[int, int, tuple[int, ...]]:
    """Where a tensor begins and ends, and its shape. Raises what `read_shapes` catches."""
    shape, (begin, end) = said["shape"], said["data_offsets"]
    if set(said) != {"dtype", "shape", "data_offsets"} or said["dtype"] not in _BYTES:
        raise ValueError(f"a tensor of {said['dtype']}, not of {' or '.join(_BYTES)}")
    if len(shape) > _MOST_AXES or not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(f"a shape of {shape} at {begin} to {end}")
    if math.prod(shape) * _BYTES[said["dtype"]] != end - begin:
        raise ValueError(f"a shape of {shape} in {end - begin} bytes")
    return begin, end, tuple(shape)


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises `StoreError` where a weight is no finite number."""
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise StoreError("A weights file holds numbers that are not finite", got=f"{where}: {name}")


def _damaged(where: str, reason: str) -> StoreError:
    return StoreError("A weights file is damaged or cut short", got=f"{where}: {reason}")


def unpack_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file that was read from `where`. Raises `StoreError` if it is damaged."""
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(where, in_short(str(error))) from error


def compare_shapes(expected: Shapes, found: Shapes, where: str) -> None:
    """Raises `StoreError` where a tensor lacks, is left over, or has another shape than the net's."""
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))
        raise StoreError(
            "Weights do not fit the net that their card describes",
            got=f"{where}: {len(wrong)} differences, the first at {in_short(wrong[0][0])} {list(wrong[0][1])}",
            allowed="the tensors of the net, all of them and no others",
        )


def load_weights(net: Any, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load exactly these weights into `net`: none may lack, none may be left over, every shape must fit."""
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    compare_shapes(expected, {name: tuple(value.shape) for name, value in tensors.items()}, where)
    net.load_state_dict(dict(tensors))


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each name as `<prefix>.<name>`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors named `<prefix>.<name>`, as `<name>`."""
    return {name.removeprefix(f"{prefix}."): v for name, v in tensors.items() if name.startswith(f"{prefix}.")}


def by_prefix(values: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """What is named `<prefix>.<name>`, by prefix and name, in one go; a name without a dot is one of no prefix."""
    found: dict[str, dict[str, T]] = {}
    for name, value in values.items():
        prefix, dot, rest = name.partition(".")
        found.setdefault(prefix if dot else "", {})[rest if dot else name] = value
    return found
