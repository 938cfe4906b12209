"""The rows of a worker: scaled by the training rows, and held as its memory allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.data.dataset import open_dataset
from xtlray.data.loader import Choice
from xtlray.data.overlap import among, keys_tested_on, rows_among
from xtlray.errors import WorkError
from xtlray.nn.nets import build_net
from xtlray.pretrain.rows import Rows, load_rows, load_tables, note_choice
from xtlray.pretrain.stream_feed import StreamFeed
from xtlray.records import Split
from xtlray.store import Store
from xtlray.training.loop import Recipe, fit
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import CompactTable

CPU = torch.device("cpu")


class Alone(Ranks):
    """The only worker of a group."""

    here = 1
    device = CPU

    def from_first(self, make: Callable[[], Any]) -> Any:
        return make()


def test_tables_are_scaled_by_the_training_rows(store: Store) -> None:
    data = tiny.dataset(store)
    train, val, scaler = load_tables([data], CPU)
    assert (len(train), len(val)) == (data.card.splits["train"], data.card.splits["val"])
    assert float(train.y_BP.mean()) == pytest.approx(0, abs=1e-6)
    assert float(train.y_BP.std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert scaler.mean == pytest.approx((data.rows("train").y_B.mean(),))
    assert scaler.inverse(val.y_BP.double().numpy())[:, 0] == pytest.approx(data.rows("val").y_B, rel=1e-6)


def test_each_property_is_scaled_on_its_own(store: Store) -> None:
    """Labels that are missing count for nothing."""
    gap = tiny.dataset(store, "user/gap")
    volume = tiny.dataset(store, "user/volume", tiny.FORMULAS[:40], [1000.0 + i for i in range(40)])
    train, _, scaler = load_tables([gap, volume], CPU)
    assert scaler.mean == pytest.approx((gap.rows("train").y_B.mean(), volume.rows("train").y_B.mean()))
    there = ~train.y_BP.isnan()
    assert there.sum(dim=0).tolist() == [gap.card.splits["train"], volume.card.splits["train"]]
    for p in range(2):
        assert float(train.y_BP[there[:, p], p].std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_training_rows_that_the_input_cannot_hold(store: Store) -> None:
    formulas = ("HeO", "NeO", "ArO", "HeO2", "LiO")
    data = tiny.dataset(store, formulas=formulas, sides=["train"] * 4 + ["test"])
    with pytest.raises(WorkError, match=r"no training rows.*user/gap: \d rows with other elements"):
        load_tables([data], CPU)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("wanted", "kind"), [("auto", CompactTable), ("resident", CompactTable), ("streaming", StreamFeed)]
)
def test_the_way_in_that_is_asked_for(store: Store, wanted: Any, kind: type) -> None:
    data = tiny.dataset(store)
    rows = load_rows(store, [("user/gap", data.card.data_hash)], wanted, Alone())
    assert isinstance(rows.train, kind)
    assert len(rows.train) == data.card.splits["train"]
    assert len(rows.val) == data.card.splits["val"]
    assert rows.train.features == 86
    assert np.allclose(rows.scaler.mean, data.rows("train").y_B.mean())
    assert wanted == "auto" or rows.choice.loader == wanted


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("way", ["resident", "streaming"])
@pytest.mark.parametrize("sources", [["user/gap"], ["user/gap", "user/volume"]])
def test_no_excluded_composition_comes_in(store: Store, way: Any, sources: list[str]) -> None:
    """Neither to be trained on nor to be validated on, by whichever way; the scaler does not see it either."""
    sides = ["test" if i % 2 else "train" for i in range(len(tiny.FORMULAS) - 20)]
    target = tiny.dataset(store, "user/target", tiny.FORMULAS[20:], sides=sides)
    data = [tiny.dataset(store, "user/gap"), tiny.dataset(store, "user/volume", tiny.FORMULAS[:60])][: len(sources)]
    pairs = [(each.card.name, each.card.data_hash) for each in (*data, target)]
    rows = load_rows(store, pairs[:-1], way, Alone(), pairs[-1:])

    tested = {row.tobytes() for row in target.rows("test").encode(tiny.ENCODER)[0]}
    keys = keys_tested_on([target])
    splits: dict[Split, CompactTable | StreamFeed] = {"train": rows.train, "val": rows.val}
    for split, feed in splits.items():
        left_out = np.array([rows_among(each, split, keys) for each in data])
        assert left_out.min() > 0
        batches = list(feed.epoch(0, 16, LoopState(), Ranks()))
        assert not {row.tobytes() for batch in batches for row in batch.x_BF.numpy()} & tested
        labels_P = torch.cat([~batch.y_BP.isnan() for batch in batches]).sum(dim=0)
        assert labels_P.tolist() == ([each.card.splits[split] for each in data] - left_out).tolist()
    kept_B = ~among(data[0].rows("train").compositions, keys)
    assert rows.scaler.mean[0] == pytest.approx(data[0].rows("train").y_B[kept_B].mean())


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("way", ["resident", "streaming"])
def test_nothing_is_left_to_train_on(store: Store, way: Any) -> None:
    data = tiny.dataset(store)
    target = tiny.dataset(store, "user/target", sides=["train", "train"] + ["test"] * (len(tiny.FORMULAS) - 2))
    last = tiny.dataset(store, "user/last", tiny.FORMULAS[:5], sides=["test"] * 2 + ["train"] * 3)
    pairs = [(each.card.name, each.card.data_hash) for each in (data, target, last)]
    with pytest.raises(WorkError, match=r"no training rows.*user/gap: 0 rows.*, \d\d that another dataset tests on"):
        load_rows(store, pairs[:1], way, Alone(), pairs[1:])


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_too_little_memory_means_streaming_and_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xtlray.pretrain.stream_feed.available_memory", lambda: 1 << 20)
    data = tiny.dataset(store)
    rows = load_rows(store, [("user/gap", data.card.data_hash)], "auto", Alone())
    assert isinstance(rows.train, StreamFeed)
    assert "so streaming" in rows.choice.reason
    note_choice(store, "runs/r/attempts/1", rows.choice)
    assert Choice(**store.get_json("runs/r/attempts/1/loader.json")) == rows.choice


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_stream_ends_within_the_spread_of_seeds(store: Store) -> None:
    """The order of rows is another one, the rows are the same."""
    name = "demo/formation_enthalpy"
    data = [(name, open_dataset(store, name).card.data_hash)]
    resident, streamed = (load_rows(store, data, way, Alone()) for way in ("resident", "streaming"))
    recipe = Recipe(epochs=3, batch=256, lr=5e-3, seed=0, precision="float32")

    def error(rows: Rows, seed: int) -> float:
        net = build_net({"name": "elemnet", "hidden": [32, 16]}, 86, 1, seed)
        state = fit(net, rows.train, rows.val, replace(recipe, seed=seed))
        assert [entry["rows"] for entry in state.history] == [len(resident.train)] * 3
        return float(state.history[-1]["val"])

    errors = [error(resident, seed) for seed in range(5)]
    assert abs(error(streamed, 0) - np.mean(errors)) <= 2 * np.std(errors, ddof=1)
