"""The rows made to be streamed: as many as asked for, other compositions each, read as any dataset is."""

from __future__ import annotations

import numpy as np

from tests import tiny
from xtlray.bench.bare import ENCODER
from xtlray.bench.stream import make_rows
from xtlray.chem.formula import composition_keys
from xtlray.data.dataset import open_dataset
from xtlray.store import Store


def test_rows_are_made_from_those_there_are(store: Store, tmp_path) -> None:
    dataset = tiny.dataset(store, formulas=[*tiny.FORMULAS, "Fe", "XeF2"])
    given = dataset.rows("train")
    to = Store.open(str(tmp_path / "many"))
    made = make_rows(dataset, 3 * len(given) + 1, to)
    assert open_dataset(to, made.card.name).card == made.card
    rows = made.rows("train")
    assert len(rows) == made.card.splits["train"] == 3 * len(given) + 1
    assert len(set(composition_keys(rows.compositions))) > 0.99 * len(rows)
    assert rows.compositions.counts.min() >= 2  # an element alone can have no other fractions
    assert np.isin(rows.y_B, given.y_B).all()
    x_BE, kept, skipped = rows.encode(ENCODER)
    assert (len(kept), skipped) == (len(rows), 0)
    assert np.allclose(x_BE.sum(axis=1), 1, atol=1e-6)


def test_the_same_rows_again(store: Store, tmp_path) -> None:
    dataset = tiny.dataset(store)
    one, two = (make_rows(dataset, 100, Store.open(str(tmp_path / name))) for name in "ab")
    assert one.card == two.card
