"""The result of a pretraining: errors in physical units on the rows that the input can hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.data.overlap import keys_tested_on, rows_among
from xtlray.nn.nets import build_net
from xtlray.nn.scaler import TargetScaler
from xtlray.pretrain.checkpoints import open_checkpoint, save_checkpoint
from xtlray.pretrain.result import load_result_net, read_result, result_key, score
from xtlray.store import Store
from xtlray.training.loop import make_optimizer
from xtlray.training.state import LoopState


def test_score_reads_back_as_it_was_made(store: Store) -> None:
    formulas = (*tiny.FORMULAS, "HeO", "NeO")
    data = tiny.dataset(store, formulas=formulas, sides=["train"] * 80 + ["test"] * 6)
    net = build_net(tiny.NET, 86, 1, seed=0)
    history = [{"epoch": 1, "step": 4, "loss": 0.5, "val": None}, {"epoch": 2, "step": 8, "loss": 0.25, "val": 0.5}]
    state = LoopState(epoch=2, step=8, history=history)
    scaler = TargetScaler((7.0,), (2.0,))
    folder = save_checkpoint(store, "runs/r/attempts/1", net, make_optimizer(net, tiny.RECIPE), state, scaler.as_json())
    result = score(store, open_checkpoint(store, folder), tiny.NET, [data], tiny.ENCODER)

    rows = data.rows("test")
    x_BF, kept, _ = rows.encode(tiny.ENCODER)
    with torch.inference_mode():
        predicted = 7 + 2 * net(torch.from_numpy(x_BF)).numpy()[:, 0].astype(float)
    metrics, skipped = result.metrics["user/gap"], result.skipped["user/gap"]
    assert metrics["test"].mae == pytest.approx(np.abs(rows.y_B[kept] - predicted).mean(), rel=1e-6)
    assert (metrics["test"].rows, skipped["test"]) == (4, 2)
    assert metrics["val"].rows + skipped["val"] == data.card.splits["val"]
    assert [(entry["loss"], entry["val"]) for entry in result.history] == [(1.0, None), (0.5, 1.0)]

    assert read_result(store, "runs/r", "user/model") is None
    store.create_json(result_key("runs/r", "user/model"), result.as_json())
    assert read_result(store, "runs/r", "user/model") == result
    assert np.allclose(load_result_net(store, result, 86).predict(x_BF), predicted)


def test_without_test_rows_there_are_no_test_metrics(store: Store) -> None:
    data = tiny.dataset(store, formulas=("LiO", "NaO"))
    net = build_net(tiny.NET, 86, 1, seed=0)
    optimizer = make_optimizer(net, tiny.RECIPE)
    scaler = {"mean": [0.0], "scale": [1.0]}
    folder = save_checkpoint(store, "runs/r/attempts/1", net, optimizer, LoopState(), scaler)
    result = score(store, open_checkpoint(store, folder), tiny.NET, [data], tiny.ENCODER)
    assert set(result.metrics["user/gap"]) == {"val"}


def test_excluded_compositions_are_not_validated_on(store: Store) -> None:
    """They may choose nothing; test rows are the dataset's own."""
    data = tiny.dataset(store, formulas=(*tiny.FORMULAS, "HeO"))
    target = tiny.dataset(store, "user/target", sides=["train"] * 42 + ["test"] * 42)
    excluded = keys_tested_on([target])
    net = build_net(tiny.NET, 86, 1, seed=0)
    scaler = {"mean": [0.0], "scale": [1.0]}
    folder = save_checkpoint(store, "runs/r/attempts/1", net, make_optimizer(net, tiny.RECIPE), LoopState(), scaler)
    found = open_checkpoint(store, folder)
    whole, less = (score(store, found, tiny.NET, [data], tiny.ENCODER, keys) for keys in (frozenset(), excluded))
    left_out = rows_among(data, "val", excluded)
    assert left_out > 0
    assert less.metrics["user/gap"]["val"].rows == whole.metrics["user/gap"]["val"].rows - left_out
    assert less.metrics["user/gap"]["test"] == whole.metrics["user/gap"]["test"]
    assert less.skipped == whole.skipped


def test_each_property_is_scored_on_its_own_rows_in_its_unit(store: Store) -> None:
    data = [tiny.dataset(store), tiny.dataset(store, "user/modulus", tiny.FORMULAS[:50], unit="GPa")]
    net = build_net(tiny.NET, 86, 2, seed=0)
    history = [
        {"epoch": 1, "loss": 0.5, "val": 0.25, "losses": [0.5, 0.1], "vals": [0.25, None]},
        {"epoch": 2, "loss": 0.25, "val": None, "losses": [0.25, 0.2], "vals": [None, 0.3]},
    ]
    scaler = TargetScaler((7.0, 100.0), (2.0, 30.0))
    optimizer = make_optimizer(net, tiny.RECIPE)
    state = LoopState(history=history)
    folder = save_checkpoint(store, "runs/r/attempts/1", net, optimizer, state, scaler.as_json())
    result = score(store, open_checkpoint(store, folder), tiny.NET, data, tiny.ENCODER)

    for p, dataset in enumerate(data):
        for split in ("val", "test"):
            rows = dataset.rows(split)
            found = result.metrics[dataset.card.name][split]
            with torch.inference_mode():
                scaled = net(torch.from_numpy(tiny.ENCODER.encode(rows.compositions))).numpy()[:, p].astype(float)
            assert found.rows == len(rows) == dataset.card.splits[split]
            assert found.mae == pytest.approx(np.abs(rows.y_B - (7.0, 100.0)[p] - (2.0, 30.0)[p] * scaled).mean())
    assert result.history == [
        {"epoch": 1, "loss": 1.0, "val": 0.5, "losses": [1.0, 3.0], "vals": [0.5, None]},
        {"epoch": 2, "loss": 0.5, "val": None, "losses": [0.5, 6.0], "vals": [None, 9.0]},
    ]
    store.create_json(result_key("runs/r", "user/model"), result.as_json())
    assert read_result(store, "runs/r", "user/model") == result
    assert load_result_net(store, result, 86).predict_all(tiny.inputs(2)).shape == (2, 2)
