"""Nets made ready to answer many rows on a CPU: the same weights, multiplied by oneDNN instead of torch's default.

torch multiplies 32-bit floats by MKL, which does not use the wide vectors of every processor: on those oneDNN is twice
as fast. It also gives a row the same answer to the last bit alone or among a million, which MKL does not. The two agree
but for rounding. A net made ready cannot be trained, taken apart or sent elsewhere: it is a copy for answering.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from xtlray.nn.features import Features
from xtlray.nn.members import FeatureNetMember, HeadMember, LiveMember, NetMember


class PackedLinear(nn.Module):
    """A fully connected layer whose weights lie as oneDNN wants them.

    Args:
        linear: the layer, of 32-bit floats on the CPU; it is not changed.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x_BF: Tensor) -> Tensor:
        """The layer's answer, B × H."""
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(x_BF, self._weight, self._bias, "none", [], "")
        return answer


@cache
def can_pack() -> bool:
    """Whether this torch, on this processor, has what `PackedLinear` needs. Its name is not one that torch promises."""
    linear = nn.Linear(3, 2)
    x_BF = torch.ones(4, 3)
    try:
        with torch.inference_mode():
            return torch.allclose(PackedLinear(linear)(x_BF), linear(x_BF), rtol=1e-5, atol=1e-6)
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False


def quick_net(net: nn.Module) -> nn.Module:
    """A copy of a net for answering on the CPU, or the net itself where it cannot be made quicker."""
    linears = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    small = {parameter.device.type for parameter in net.parameters()} == {"cpu"}
    if not (linears and small and can_pack() and all(layer.weight.dtype == torch.float32 for layer in linears)):
        return net
    # deepcopy takes what it has been told of as copied already: so the weights are not copied in vain.
    return copy.deepcopy(net, {id(layer): PackedLinear(layer) for layer in linears})


def quick_members(members: Sequence[LiveMember]) -> list[LiveMember]:
    """Copies of a model's members for answering; those that share a net share its copy."""
    nets: dict[int, nn.Module] = {}

    def net_of(net: nn.Module) -> nn.Module:
        if id(net) not in nets:
            nets[id(net)] = quick_net(net)
        return nets[id(net)]

    def features_of(features: Features) -> Features:
        return replace(features, sources=tuple(replace(each, net=net_of(each.net)) for each in features.sources))

    found: list[LiveMember] = []
    for member in members:
        if isinstance(member, NetMember):
            found.append(replace(member, net=net_of(member.net)))
        elif isinstance(member, FeatureNetMember):
            found.append(replace(member, net=net_of(member.net), features=features_of(member.features)))
        elif isinstance(member, HeadMember):
            found.append(replace(member, features=features_of(member.features)))
        else:
            found.append(member)
    return found
