"""ElemNet as it was published, and what every net promises: the same seed the same weights, features that fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.errors import RequestError, UnknownNameError
from xtlray.nn.nets import NETS, build_net, count_weights, hidden_layers, resolve_net

# Jha et al. 2018, table 1: fully connected layers, the input's 86 elements first.
WIDTHS = [86, 1024, 1024, 1024, 1024, 512, 512, 512, 256, 256, 256, 128, 128, 128, 64, 64, 32, 1]


def test_the_published_architecture() -> None:
    net = build_net("elemnet", 86, 1, seed=0)
    layers = [module for module in net.modules() if isinstance(module, torch.nn.Linear)]
    assert [layers[0].in_features, *(layer.out_features for layer in layers)] == WIDTHS
    assert [layer.in_features for layer in layers] == WIDTHS[:-1]
    assert count_weights(net) == sum(a * b + b for a, b in itertools.pairwise(WIDTHS)) == 4_631_361
    assert net.n_hidden == hidden_layers({"name": "elemnet"}) == 16
    assert net.last is layers[-1]


def test_a_straightforward_forward_pass_in_float64() -> None:
    net = build_net("elemnet", 86, 1, seed=3)
    x_BF = tiny.inputs(5)
    h = x_BF.astype(np.float64)
    state = {name: value.double().numpy() for name, value in net.state_dict().items()}
    for layer in range(16):
        h = np.maximum(h @ state[f"hidden.{layer}.weight"].T + state[f"hidden.{layer}.bias"], 0)
    expected = h @ state["output.weight"].T + state["output.bias"]
    with torch.inference_mode():
        found = net(torch.from_numpy(x_BF)).numpy()
    assert found.shape == (5, 1)
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected).max() > 1e-3  # the signal has come through sixteen layers


@pytest.mark.parametrize("name", NETS)
def test_features_of_every_net_lead_to_its_output(name: str) -> None:
    net = build_net(name, 86, 2, seed=0)
    x_BF = torch.from_numpy(tiny.inputs(4))
    with torch.inference_mode():
        widths = [net.activations(x_BF, (layer,))[layer].shape for layer in range(1, net.n_hidden + 1)]
        assert all(shape[0] == 4 for shape in widths)
        last_BH = net.activations(x_BF, (1, net.n_hidden))[net.n_hidden]
        assert torch.equal(net.last(last_BH), net(x_BF))  # what is added to it is zero in a fresh net
        assert torch.equal(net.answer(last_BH, x_BF), net(x_BF))
        assert torch.equal(x_BF, torch.from_numpy(tiny.inputs(4)))  # the input is not worked in place


def test_features_by_layer() -> None:
    net = build_net(tiny.NET, 86, 1, seed=0)
    x_BF = torch.from_numpy(tiny.inputs(4))
    with torch.inference_mode():
        first = net.hidden[0](x_BF).clamp(min=0)
        found = net.activations(x_BF, (1, 2))
        assert torch.equal(found[1], first)
        assert torch.equal(found[2], net.hidden[1](first).clamp(min=0))
        assert torch.equal(found[2], net.activations(x_BF, (2,))[2])


def test_the_seed_alone_makes_the_weights() -> None:
    torch.manual_seed(1)
    one = build_net(tiny.NET, 86, 1, seed=5)
    after = torch.rand(1)
    torch.manual_seed(2)
    two = build_net(tiny.NET, 86, 1, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    other = build_net(tiny.NET, 86, 1, seed=6)
    assert not torch.equal(one.hidden[0].weight, other.hidden[0].weight)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # and it leaves the global generator alone


def test_descriptions_are_completed() -> None:
    assert resolve_net("elemnet") == {"name": "elemnet", "hidden": WIDTHS[1:-1]}
    assert resolve_net({"name": "elemnet", "hidden": [8]}) == {"name": "elemnet", "hidden": [8]}
    assert hidden_layers({"name": "elemnet", "hidden": [8, 4, 2]}) == 3


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("elmnet", UnknownNameError, "elemnet"),
        ({"hidden": [8]}, UnknownNameError, "elemnet"),
        ({"name": "elemnet", "hiden": [8]}, RequestError, "hiden.*hidden"),
        ({"name": "elemnet", "hidden": []}, RequestError, "hidden"),
        ({"name": "elemnet", "hidden": [8, 0]}, RequestError, "hidden"),
        ({"name": "elemnet", "hidden": "many"}, RequestError, "hidden"),
    ],
)
def test_impossible_nets_are_refused(spec: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_net(spec)  # type: ignore[arg-type]
