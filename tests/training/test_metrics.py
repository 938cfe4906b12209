"""Metrics, schedule, ranks, precision and state: tables of expected values."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from xtlray.training import precision
from xtlray.training.memory import keep_freed_memory
from xtlray.training.metrics import MeanErrors, mae, r2, rmse, split_metrics
from xtlray.training.precision import autocast, cpu_has_bf16, resolve_precision
from xtlray.training.ranks import Ranks
from xtlray.training.schedule import one_cycle
from xtlray.training.state import LoopState

Y = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([1, 2, 3, 4], (0.0, 0.0, 1.0)),
        ([2, 3, 4, 5], (1.0, 1.0, 0.2)),
        ([2.5, 2.5, 2.5, 2.5], (1.0, 1.25**0.5, 0.0)),
        ([1, 2, 3, 8], (1.0, 2.0, -2.2)),
    ],
)
def test_errors(predicted: list[float], expected: tuple[float, float, float]) -> None:
    p_B = np.array(predicted, dtype=float)
    assert (mae(Y, p_B), rmse(Y, p_B), r2(Y, p_B)) == pytest.approx(expected)
    assert split_metrics(Y, p_B).model_dump(exclude={"schema_version", "mae_spread"}) == pytest.approx(
        {"rows": 4, "mae": expected[0], "rmse": expected[1], "r2": expected[2]}
    )


def test_errors_of_nothing_and_of_a_constant() -> None:
    none = np.zeros(0)
    assert (mae(none, none), rmse(none, none), r2(none, none)) == (None, None, None)
    assert r2(np.ones(3), np.zeros(3)) is None


def test_errors_are_added_by_property_and_survive_json() -> None:
    errors = MeanErrors()
    assert (errors.totals, errors.counts) == ([], [])
    errors.add(torch.tensor([6.0, 1.0]), torch.tensor([2, 0]))
    errors.add(torch.tensor([0.5, 0.0]), torch.tensor([1, 3]))
    again = MeanErrors.from_json(errors.as_json())
    assert again.totals == errors.totals == [6.5, 1.0]
    assert again.counts == errors.counts == [3.0, 3.0]
    assert MeanErrors.from_json(MeanErrors().as_json()).counts == []


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1 / 3), (1, 2 / 3), (2, 1.0), (3, 1.0), (11, 0.54704), (19, 0.010498)],
)
def test_one_cycle(step: int, expected: float) -> None:
    assert one_cycle(step, 20, 1.0) == pytest.approx(expected, abs=1e-5)
    assert one_cycle(step, 20, 5e-3) == pytest.approx(5e-3 * one_cycle(step, 20, 1.0))


def test_one_cycle_rises_then_falls_and_never_leaves_its_bounds() -> None:
    for total in (1, 2, 3, 10, 1000):
        rates = [one_cycle(step, total, 1.0) for step in range(total)]
        top = rates.index(max(rates))
        assert max(rates) == 1.0
        assert min(rates) >= 0.002
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)
    assert one_cycle(5000, 1000, 1.0) == pytest.approx(0.002)  # a step beyond the end


@pytest.mark.parametrize(
    ("rows", "world", "sizes"), [(8, 1, [8]), (8, 3, [2, 3, 3]), (7, 2, [3, 4]), (2, 4, [0, 1, 0, 1]), (0, 2, [0, 0])]
)
def test_shares_are_a_partition(rows: int, world: int, sizes: list[int]) -> None:
    order = torch.arange(100, 100 + rows)
    shares = []
    for rank in range(world):
        ranks = Ranks()
        ranks.rank, ranks.world = rank, world
        shares.append(ranks.share(order))
    assert [len(share) for share in shares] == sizes
    assert torch.equal(torch.cat(shares), order)


def test_a_single_worker() -> None:
    net = torch.nn.Linear(1, 1)
    assert Ranks().wrap(net) is net
    assert Ranks().sum([1.0, 2.0]) == [1.0, 2.0]


def test_a_state_survives_json() -> None:
    state = LoopState(epoch=2, row=16, step=9)
    state.loss.add(torch.tensor([1.5]), torch.tensor([16]))
    state.history.append({"epoch": 1, "step": 4, "loss": 0.5, "val": None})
    again = LoopState.from_json(json.loads(json.dumps(state.as_json())))
    assert again == state
    again.close_epoch({"loss": 0.25, "val": 0.5})
    assert (again.epoch, again.row, again.loss.counts) == (3, 0, [])
    assert again.history[-1] == {"epoch": 3, "step": 9, "rows": 16, "loss": 0.25, "val": 0.5}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu sse2 amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu sse2 avx2 avx512f", False),
        ("model name : something bf16", False),
        (None, False),
    ],
)
def test_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, line: str | None, expected: bool) -> None:
    class Cpuinfo:
        def __init__(self, path: str) -> None:
            assert path == "/proc/cpuinfo"

        def read_text(self) -> str:
            if line is None:
                raise FileNotFoundError
            return f"processor : 0\n{line}\n"

    monkeypatch.setattr(precision, "Path", Cpuinfo)
    cpu_has_bf16.cache_clear()
    try:
        assert cpu_has_bf16() is expected
        assert resolve_precision("auto", torch.device("cpu")) == ("bf16" if expected else "float32")
    finally:
        cpu_has_bf16.cache_clear()


def test_what_is_asked_for_is_taken_at_its_word() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("float32", cpu) == "float32"
    for name, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        with autocast(name, cpu):  # type: ignore[arg-type]
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_keeping_freed_memory_can_be_asked_for_twice() -> None:
    assert keep_freed_memory() == keep_freed_memory()
