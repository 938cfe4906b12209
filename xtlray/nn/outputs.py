"""Layers by themselves: the output layer of a net, reduced to some properties or begun anew; the shapes of a layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def keep_rows(linear: nn.Linear, rows: Sequence[int]) -> None:
    """Reduce a layer to these of its outputs, in their order, in place. The weights are new parameters."""
    index = list(rows)
    linear.weight = nn.Parameter(linear.weight.detach()[index].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[index].clone())
    linear.out_features = len(index)


def fresh_rows(linear: nn.Linear, outputs: int) -> None:
    """Begin a layer anew with so many outputs, in place: Glorot and Bengio's initial weights, no bias yet."""
    linear.weight = nn.Parameter(nn.init.xavier_normal_(linear.weight.new_empty(outputs, linear.in_features)))
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.new_zeros(outputs))
    linear.out_features = outputs


def linear_shapes(name: str, inputs: int, outputs: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a fully connected layer of that name."""
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})
