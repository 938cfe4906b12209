"""Tensors ↔ bytes, by safetensors: a flat file of named arrays that can execute nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from xtlray.errors import StoreError


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


def unpack_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file that was read from `where`. Raises `StoreError` if it is damaged."""
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError("A weights file is damaged or cut short", got=f"{where}: {error}") from error


def load_weights(net: Any, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load exactly these weights into `net`: none may lack, none may be left over, every shape must fit."""
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))
        raise StoreError(
            "Weights do not fit the net that their card describes",
            got=f"{where}: {len(wrong)} differences, the first at {wrong[0][0]} {list(wrong[0][1])}",
            allowed="the tensors of the net, all of them and no others",
        )
    net.load_state_dict(dict(tensors))


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each name as `<prefix>.<name>`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors named `<prefix>.<name>`, as `<name>`."""
    return {name.removeprefix(f"{prefix}."): v for name, v in tensors.items() if name.startswith(f"{prefix}.")}
