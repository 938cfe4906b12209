"""What every net promises: it can be reduced to some of its outputs, and shows all of its layers in one look."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.errors import RequestError
from xtlray.nn.members import NetMember
from xtlray.nn.nets import NETS, build_net, net_shapes
from xtlray.nn.scaler import TargetScaler


@pytest.mark.parametrize("rows", [[1], [2, 0]])
@pytest.mark.parametrize("name", NETS)
def test_a_net_reduced_to_some_outputs_answers_as_before(name: str, rows: list[int]) -> None:
    net = build_net(name, 86, 3, seed=0)
    with torch.no_grad():
        for number, weight in enumerate(net.parameters()):  # what starts at zero must not pass for carried over
            weight += 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    x_BF = torch.from_numpy(tiny.inputs(4))
    whole, less = copy.deepcopy(net), net
    less.keep_outputs(rows)
    with torch.inference_mode():
        assert torch.allclose(less(x_BF), whole(x_BF)[:, rows], atol=1e-6)
        assert not torch.allclose(less(x_BF), whole(x_BF)[:, [0]])
    # It is the net of that many outputs: its weights can be kept, and read back, as such.
    build_net(name, 86, len(rows), seed=1).load_state_dict(less.state_dict())
    assert less.last.out_features == len(rows)
    assert all(weight.requires_grad and weight.is_leaf for weight in less.parameters())


@pytest.mark.parametrize("net", [tiny.NET, {"name": "deepsets", "width": 8, "inner": 12, "blocks": 2}])
def test_one_look_sees_every_layer_and_all_answers(net: dict[str, Any]) -> None:
    member = NetMember(net, build_net(net, 86, 2, seed=3), TargetScaler((1.0, -2.0), (3.0, 0.5)))
    x_BF = tiny.inputs(30)
    layers, answers = member.look(x_BF)
    assert len(layers) == member.net.n_hidden
    for layer, found in enumerate(layers, start=1):
        assert np.array_equal(found, member.features(x_BF, layer))
    assert np.array_equal(answers, member.predict_all(x_BF))
    assert member.width == sum(found.shape[1] for found in layers) + 2


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    "net",
    [*NETS, {"name": "elemnet", "hidden": [5]}, tiny.NET, {"name": "deepsets", "width": 8, "inner": 12, "blocks": 1}],
)
def test_the_shapes_of_a_net_are_known_without_it(net: Any, outputs: int) -> None:
    built = build_net(net, 7, outputs, seed=0).state_dict()
    assert net_shapes(net, 7, outputs) == {name: tuple(value.shape) for name, value in built.items()}


@pytest.mark.parametrize(
    "net",
    [
        {"name": "elemnet", "hidden": [10**9]},
        {"name": "elemnet", "hidden": [1] * 513},
        {"name": "deepsets", "width": 10**9},
        {"name": "deepsets", "inner": 10**9},
        {"name": "deepsets", "blocks": 10**9},
    ],
)
def test_a_net_beyond_all_limits_is_refused_before_it_is_built(net: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="A setting of the net"):
        build_net(net, 86, 1, seed=0)
