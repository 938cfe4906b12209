"""Members made ready to answer: the same answers but for rounding, and the members themselves left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from tests import tiny
from xtlray.nn import quick
from xtlray.nn.features import Block, Features
from xtlray.nn.members import ConstantMember, FeatureNetMember, HeadMember, LiveMember, NetMember
from xtlray.nn.nets import build_net, resolve_net
from xtlray.nn.quick import PackedLinear, can_pack, quick_members, quick_net
from xtlray.nn.scaler import TargetScaler

needs_onednn = pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN on this processor")
NETS = [{"name": "elemnet", "hidden": [64, 32]}, {"name": "deepsets", "width": 16, "blocks": 2, "inner": 24}]


def member(spec: dict[str, object], outputs: int = 2) -> NetMember:
    net = build_net(spec, 86, outputs, seed=1).eval()
    return NetMember(resolve_net(spec), net, TargetScaler((3.0,) * outputs, (2.0,) * outputs))


@pytest.mark.parametrize("spec", NETS)
def test_answers_and_activations_are_the_same(spec: dict[str, object]) -> None:
    slow = member(spec)
    (fast,) = quick_members([slow])
    assert isinstance(fast, NetMember)
    x_BF = tiny.inputs(300)
    np.testing.assert_allclose(fast.predict_all(x_BF), slow.predict_all(x_BF), rtol=1e-5, atol=1e-5)
    for layer in range(1, slow.net.n_hidden + 1):
        np.testing.assert_allclose(fast.features(x_BF, layer), slow.features(x_BF, layer), rtol=1e-4, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize("spec", NETS)
def test_a_row_has_one_answer_alone_and_among_many(spec: dict[str, object]) -> None:
    (fast,) = quick_members([member(spec)])
    x_BF = tiny.inputs(300)
    together = fast.predict_all(x_BF)
    for rows in (1, 7, 64):
        apart = [fast.predict_all(x_BF[i : i + rows]) for i in range(0, 300, rows)]
        assert np.array_equal(np.concatenate(apart), together)


@needs_onednn
def test_the_net_itself_stays_as_it_was() -> None:
    slow = member(NETS[0])
    before = {name: value.clone() for name, value in slow.net.state_dict().items()}
    (fast,) = quick_members([slow])
    assert isinstance(fast, NetMember)
    assert all(isinstance(layer, PackedLinear) for layer in fast.net.hidden)
    assert all(isinstance(layer, torch.nn.Linear) for layer in slow.net.hidden)
    slow.net(torch.ones(2, 86)).sum().backward()
    assert all(parameter.grad is not None for parameter in slow.net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in slow.net.state_dict().items())


def test_every_kind_of_member_is_made_ready() -> None:
    source = member(NETS[0])
    features = Features((Block("fractions"), Block("answers"), Block("activations", 1)), (source,), 86)
    x_BX = tiny.inputs(40)
    head = HeadMember(features, Ridge().fit(features.of(x_BX), np.arange(40.0)), scaler=None)
    width = features.of(x_BX).shape[1]
    spec = resolve_net(NETS[0])
    scale = np.ones(width, np.float32)
    body = FeatureNetMember(
        features, spec, build_net(spec, width, 1, seed=2).eval(), TargetScaler((1.0,), (1.0,)), 0 * scale, scale
    )
    slow: list[LiveMember] = [head, body, ConstantMember(4.0), source]
    fast = quick_members(slow)
    for one, other in zip(slow, fast, strict=True):
        np.testing.assert_allclose(other.predict(x_BX), one.predict(x_BX), rtol=1e-4, atol=1e-4)
    assert isinstance(fast[3], NetMember)
    for each in fast[:2]:
        assert isinstance(each, (HeadMember, FeatureNetMember))
        assert each.features.sources[0].net is fast[3].net  # made ready once


def test_where_it_cannot_be_quicker_the_net_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = member(NETS[0]).net.double()
    assert quick_net(wide) is wide  # of 64 bits
    monkeypatch.setattr(quick, "can_pack", lambda: False)
    single = member(NETS[0]).net
    assert quick_net(single) is single


def test_a_torch_without_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(linear: torch.nn.Linear) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(quick, "PackedLinear", missing)
    can_pack.cache_clear()
    assert can_pack() is False
    monkeypatch.undo()
    can_pack.cache_clear()
