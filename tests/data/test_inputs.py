"""Inputs of members: fractions with physical attributes behind them, worked out once and kept beside the dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from xtlray.chem.attributes import COUNT, attributes, recipe
from xtlray.chem.formula import parse
from xtlray.data.dataset import Rows
from xtlray.data.inputs import InputEncoder
from xtlray.errors import StoreError
from xtlray.store import Store

FORMULAS = ("LiO", "Fe2O3", "HeO", "SiO2", "NaCu2")  # no net of ours knows helium
SIDES = ("train",) * len(FORMULAS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_without_attributes_it_is_the_fractions() -> None:
    found, _ = parse(["LiO", "Fe2O3"])
    assert np.array_equal(tiny.INPUT.encode(found), tiny.ENCODER.encode(found))
    assert tiny.INPUT.width == 86


def test_attributes_stand_behind_the_fractions() -> None:
    found, _ = parse(["LiO", "Fe2O3"])
    encoder = InputEncoder(tiny.ENCODER, attributes=True)
    x_BX = encoder.encode(found)
    assert x_BX.dtype == np.float32
    assert x_BX.shape == (2, encoder.width) == (2, 86 + COUNT)
    assert np.array_equal(x_BX[:, :86], tiny.ENCODER.encode(found))
    assert np.array_equal(x_BX[:, 86:], attributes(found))


def test_those_of_a_dataset_are_kept_beside_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tiny.dataset(store, formulas=FORMULAS, sides=SIDES).rows("train")
    encoder = InputEncoder(tiny.ENCODER, attributes=True, store=store)
    x_BF, kept, skipped = rows.encode(tiny.ENCODER)
    x_BX = encoder.widen(x_BF, rows, kept)
    assert skipped == 1
    assert np.array_equal(x_BX, encoder.encode(rows.compositions.take(kept)))
    assert store.exists(f"{rows.dataset.folder}/attributes/{recipe()}-{rows.split}.parquet")

    def worked_out_again(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("xtlray.data.inputs.attributes", worked_out_again)
    assert np.array_equal(encoder.widen(x_BF, rows, kept), x_BX)


@pytest.mark.parametrize("damage", ["bytes", "rows"])
def test_damaged_ones_are_refused_by_name(store: Store, damage: str) -> None:
    rows = tiny.dataset(store, formulas=FORMULAS, sides=SIDES).rows("train")
    key = f"{rows.dataset.folder}/attributes/{recipe()}-train.parquet"
    encoder = InputEncoder(tiny.ENCODER, attributes=True, store=store)
    x_BF, kept, _ = rows.encode(tiny.ENCODER)
    encoder.widen(x_BF, rows, kept)
    good = store.get(key)
    store.delete([key])
    if damage == "bytes":
        store.create(key, good[: len(good) // 2])
    else:
        other = tiny.dataset(store, name="user/other", formulas=FORMULAS[:2], sides=SIDES[:2]).rows("train")
        encoder.widen(*_encoded(other))
        store.create(key, store.get(f"{other.dataset.folder}/attributes/{recipe()}-train.parquet"))
    with pytest.raises(StoreError, match=f"(?s){recipe()}-train.*remove the file"):
        encoder.widen(x_BF, rows, kept)


def _encoded(rows: Rows) -> tuple[np.ndarray, Rows, np.ndarray]:
    x_BF, kept, _ = rows.encode(tiny.ENCODER)
    return x_BF, rows, kept
