"""Tensors as bytes."""

from __future__ import annotations

import pytest
import torch

from xtlray.errors import StoreError
from xtlray.nn.tensors import (
    load_weights,
    pack_tensors,
    read_shapes,
    rounded,
    smallest,
    under_prefix,
    unpack_tensors,
    widened,
    with_prefix,
)


def test_equal_tensors_give_equal_bytes_in_whatever_order() -> None:
    a, b = torch.arange(6.0).reshape(2, 3), torch.ones(2, dtype=torch.int64)
    data = pack_tensors({"a": a, "b": b})
    assert data == pack_tensors({"b": b.clone(), "a": a.clone()})
    assert data == pack_tensors({"a": a.T.contiguous().T, "b": b})  # another layout in memory
    found = unpack_tensors(data, "here")
    assert torch.equal(found["a"], a)
    assert torch.equal(found["b"], b)


def test_prefixes() -> None:
    tensors = {"w": torch.zeros(1)}
    both = {**with_prefix("m1", tensors), **with_prefix("m10", {"v": torch.ones(1)})}
    assert set(both) == {"m1.w", "m10.v"}
    assert set(under_prefix("m1", both)) == {"w"}


def test_no_tensors() -> None:
    assert unpack_tensors(pack_tensors({}), "here") == {}


def test_wrong_weights_leave_the_net_as_it_was() -> None:
    net = torch.nn.Linear(2, 1)
    before = net.weight.clone()
    with pytest.raises(StoreError, match=r"2 differences, the first at weight \[1, [23]\]"):
        load_weights(net, {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, "here")
    assert torch.equal(net.weight, before)


def test_what_is_rounded_is_kept_to_the_bit_in_half_the_space() -> None:
    value = torch.linspace(-3, 3, 1001)
    near = rounded(value)
    assert float((near - value).abs().max()) < 2e-3
    assert smallest(near).dtype == torch.float16
    assert torch.equal(widened(smallest(near)), near)
    assert torch.equal(rounded(near), near)


@pytest.mark.parametrize("value", [1e6, 0.1, float("nan")])
def test_what_16_bits_do_not_hold_stays_whole(value: float) -> None:
    tensor = torch.tensor([1.0, value])
    assert torch.equal(smallest(tensor), tensor) or value != value
    assert smallest(tensor).dtype == torch.float32
    assert smallest(torch.arange(3)).dtype == torch.int64


def test_a_number_too_large_for_16_bits_is_not_made_infinite() -> None:
    assert rounded(torch.tensor([1e6, 0.1])).tolist() == pytest.approx([1e6, 0.1])


def test_a_header_tells_the_shapes_of_what_lies_behind_it() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(4).half(), "c": torch.tensor(1.0)}
    assert read_shapes(pack_tensors(tensors), "here") == {"a": (2, 3), "b": (4,), "c": ()}
    assert read_shapes(pack_tensors({}), "here") == {}


@pytest.mark.parametrize("kind", [torch.int64, torch.float64, torch.bfloat16, torch.bool])
def test_weights_of_another_type_are_refused_by_their_header(kind: torch.dtype) -> None:
    with pytest.raises(StoreError, match=r"here: its header.*not of F16 or F32"):
        read_shapes(pack_tensors({"a": torch.zeros(2).to(kind)}), "here")
