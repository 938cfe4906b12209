"""The output layer of a net, reduced to some of its properties."""

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
