"""DeepSets: the published layer in plain float64, and what a set of elements must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.chem.formula import parse
from xtlray.nn.nets import build_net

SMALL = {"name": "deepsets", "width": 12, "blocks": 2, "inner": 16}
FORMULAS = ["Fe", "NaCl", "KMgF3", "Cs2AgBiBr6", "La0.7Sr0.3MnO3"]


def rows(formulas: list[str]) -> torch.Tensor:
    return torch.from_numpy(tiny.ENCODER.encode(parse(formulas)[0]))


def lively(outputs: int = 2, seed: int = 0) -> torch.nn.Module:
    """A net whose every weight matters: no zeros."""
    net = build_net(SMALL, 86, outputs, seed)
    generator = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        weight.data += 0.2 * torch.randn(weight.shape, generator=generator)
    return net


def by_hand(net: torch.nn.Module, x_F: np.ndarray) -> np.ndarray:
    """One row, as the docstring says it, in float64."""
    w = {name: value.double().numpy() for name, value in net.state_dict().items()}

    def linear(name: str, h: np.ndarray) -> np.ndarray:
        return h @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def norm(name: str, h: np.ndarray) -> np.ndarray:
        centred = h - h.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    columns = np.flatnonzero(x_F)
    f = x_F[columns].astype(np.float64)
    k = math.pi * f[:, None] * np.arange(1, 9)
    seen = np.column_stack([f, np.log(f) / 5, np.sin(k), np.cos(k)])
    h = w["embedding"][columns] + linear("fraction", seen)
    for block in range(2):
        u = norm(f"blocks.{block}.norm", h)
        inner = linear(f"blocks.{block}.own", u) + linear(f"blocks.{block}.mean", f @ u)
        h = h + linear(f"blocks.{block}.out", np.maximum(inner, 0))
    read = f @ np.maximum(linear("read", norm("norm", h)), 0)
    return linear("output", read) + linear("linear", x_F.astype(np.float64))


def test_a_straightforward_forward_pass_in_float64() -> None:
    net, x_BF = lively(), rows(FORMULAS)
    expected = np.array([by_hand(net, row) for row in x_BF.numpy()])
    with torch.inference_mode():
        found = net(x_BF).numpy()
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-2


def test_a_row_is_answered_alike_in_any_company() -> None:
    net, x_BF = lively(), rows(FORMULAS)
    with torch.inference_mode():
        alone = torch.cat([net(row[None]) for row in x_BF])
        assert torch.allclose(net(x_BF), alone, atol=1e-6)
        assert net(x_BF[:0]).shape == (0, 2)


def test_a_formula_and_its_double_are_one() -> None:
    net = lively()
    with torch.inference_mode():
        assert torch.allclose(net(rows(["KMgF3"])), net(rows(["K2Mg2F6"])), atol=1e-6)


def test_it_keeps_some_of_its_outputs() -> None:
    net, x_BF = lively(outputs=3), rows(FORMULAS)
    with torch.inference_mode():
        whole = net(x_BF)
        net.keep_outputs([2])
        assert torch.allclose(net(x_BF), whole[:, [2]], atol=1e-6)
    assert net.last.out_features == 1


def test_empty_rows_do_not_break_a_gradient() -> None:
    """A worker may have no row of a batch, and must still take part in the average."""
    net = lively()
    net(rows(FORMULAS)[:0]).sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in net.parameters())


def test_it_learns_a_pair_property() -> None:
    """Something that no sum over elements can be: the product of the fractions of two of them."""
    formulas = [f"Na{a}Cl{b}K{c}" for a in range(1, 5) for b in range(1, 5) for c in range(1, 4)]
    x_BF = rows(formulas)
    y_B = 10 * x_BF[:, tiny.ENCODER.elements.index("Na")] * x_BF[:, tiny.ENCODER.elements.index("Cl")]
    net = build_net(SMALL, 86, 1, seed=0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(150):
        loss = (net(x_BF)[:, 0] - y_B).abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.1 * float(y_B.std())
