"""The bare loop's measurements: whole batches only, a clock between stretches, FLOP counted as they are defined."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests import tiny
from xtlray.bench.bare import Stretches, Work, flop_per_row, matrix_tflops, measure
from xtlray.data.dataset import Dataset
from xtlray.nn.nets import build_net
from xtlray.store import Store
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import Table

CPU = torch.device("cpu")


def work(dataset: Dataset, **parts: object) -> Work:
    card = dataset.card
    return Work(dataset.store.url, card.name, card.data_hash, tiny.NET, 1, "cpu", **parts)  # type: ignore[arg-type]


def test_stretches_are_of_whole_batches_however_few_rows_there_are() -> None:
    rows = Table.of(tiny.inputs(20), torch.arange(20)[:, None])
    feed = Stretches(rows, batch=8, steps=3, device=CPU, stretches=2, warm=1)
    state, seen = LoopState(), []
    for batch in feed.epoch(0, 8, state, Ranks()):
        seen.append(batch.y_BP[:, 0])
        state.row += batch.rows  # as the loop does
    assert len(seen) == 1 + 3 * 2
    assert len(feed) == 8 * len(seen)
    assert all(len(y_B) == 8 for y_B in seen)
    assert len(feed.marks) == 3
    assert feed.marks == sorted(feed.marks)
    first, second = feed.rates()
    assert first == pytest.approx(24 / (feed.marks[1] - feed.marks[0]))
    assert second > 0


def test_flop_of_a_row() -> None:
    assert flop_per_row(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))) == 6 * (15 + 10)
    assert flop_per_row(build_net("elemnet", 86, 1, seed=0)) == 27_746_496


def test_the_rate_of_matrix_products() -> None:
    found = matrix_tflops([32, 64], CPU, seconds=0.01)
    assert set(found) == {32, 64}
    assert all(0 < rate < 1000 for rate in found.values())


def test_all_of_it(store: Store) -> None:
    dataset = tiny.dataset(store)
    found = measure(work(dataset, batch=16, epochs=3, batches=(8, 16), stretch=32, sizes=(32,), seconds=0.01))
    assert found["rows"] == dataset.card.splits["train"]
    assert found["flop_per_row"] == 6 * (86 * 8 + 8 * 4 + 4)
    assert [each["batch"] for each in found["batches"]] == [8, 16]
    assert all(len(each["rates"]) == 3 and min(each["rates"]) > 0 for each in found["batches"])
    assert set(found["matrix"]) == {32}
    assert found["epochs"]["rows_per_s"] > 0


def test_the_process_of_its_own_knows_nothing_of_ray(store: Store) -> None:
    asked = json.dumps(work(tiny.dataset(store), batch=16, epochs=2).as_json())
    code = "import sys; from xtlray.bench.bare import main; main(); assert 'ray' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], input=asked, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["epochs"]["rows_per_s"] > 0
