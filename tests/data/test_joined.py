"""Several properties as one table: a row per composition, and nothing that one of them tests on."""

from __future__ import annotations

import numpy as np
import torch

from tests import tiny
from xtlray.chem.formula import parse
from xtlray.data.joined import Joined, compact, join
from xtlray.data.overlap import keys_tested_on, rows_among
from xtlray.records import SPLITS
from xtlray.store import Store
from xtlray.training.table import CompactTable


def labels(joined: Joined, column: int) -> list[float]:
    value_B = joined.y_BP[:, column]
    return list(value_B[~np.isnan(value_B)])


def test_compact_rows_hold_what_the_encoder_does() -> None:
    found, _ = parse(["LiO", "NaCl", "Fe", "KMgF3"])
    z_BK, f_BK = compact(found, tiny.ENCODER)
    table = CompactTable.of(z_BK, f_BK, np.zeros((4, 1)), 86)
    x_BF, _ = table.take(torch.arange(4))
    assert np.array_equal(x_BF.numpy(), tiny.ENCODER.encode(found))
    assert z_BK.shape == f_BK.shape == (4, 3)


def test_rows_of_one_composition_are_side_by_side(store: Store) -> None:
    """Formulas differ, compositions do not: Li2O2 is LiO."""
    one = tiny.dataset(store, "user/one", tiny.FORMULAS)
    other = tiny.dataset(store, "user/other", [f"({text})2" for text in reversed(tiny.FORMULAS)])
    joined = join([one, other], "train", tiny.ENCODER)
    assert len(joined) == one.card.splits["train"] == other.card.splits["train"]
    assert not np.isnan(joined.y_BP).any()
    assert np.array_equal(joined.y_BP[:, 0], one.rows("train").y_B)
    assert sorted(joined.y_BP[:, 1]) == sorted(other.rows("train").y_B)
    alone = join([one], "train", tiny.ENCODER)
    assert np.array_equal(alone.z_BK, joined.z_BK)


def test_what_only_one_has_is_missing_for_the_other(store: Store) -> None:
    one = tiny.dataset(store, "user/one", tiny.FORMULAS[:50])
    other = tiny.dataset(store, "user/other", tiny.FORMULAS[30:])
    for split in SPLITS:
        joined = join([one, other], split, tiny.ENCODER)
        counts = (~np.isnan(joined.y_BP)).sum(axis=0).tolist()
        assert counts == [one.card.splits.get(split, 0), other.card.splits.get(split, 0)]
        assert not np.isnan(joined.y_BP).all(axis=1).any()
    assert len(join([one, other], "train", tiny.ENCODER)) < one.card.splits["train"] + other.card.splits["train"]


def test_a_composition_that_one_dataset_holds_twice(store: Store) -> None:
    twice = tiny.dataset(store, "user/twice", [*tiny.FORMULAS, *tiny.FORMULAS], [float(i) for i in range(168)])
    once = tiny.dataset(store, "user/once")
    joined = join([once, twice], "train", tiny.ENCODER)
    assert len(joined) == 2 * once.card.splits["train"]
    assert sorted(labels(joined, 1)) == sorted(twice.rows("train").y_B)
    assert sorted(labels(joined, 0)) == sorted(once.rows("train").y_B)


def test_foreign_elements_are_counted(store: Store) -> None:
    data = tiny.dataset(store, formulas=("HeO", "NeO", "LiO", "NaO"), sides=["train"] * 4)
    joined = [join([data], split, tiny.ENCODER) for split in SPLITS[:2]]
    assert sum(each.skipped[0] for each in joined) == 2
    assert sum(len(each) for each in joined) == 2


def test_what_one_dataset_tests_on_no_other_trains_on(store: Store) -> None:
    """A published split knows nothing of the pool's."""
    pool = tiny.dataset(store, "user/pool")
    sides = ["test" if i % 2 else "train" for i in range(len(tiny.FORMULAS))]
    published = tiny.dataset(store, "user/published", sides=sides)
    joined = join([pool, published], "train", tiny.ENCODER)
    assert joined.withheld[0] > 0
    held = {row.tobytes() for data in (pool, published) for split in ("val", "test")
            for row in data.rows(split).encode(tiny.ENCODER)[0]}  # fmt: skip
    table = CompactTable.of(joined.z_BK, joined.f_BK, joined.y_BP, 86)
    x_BF, _ = table.take(torch.arange(len(joined)))
    assert not {row.tobytes() for row in x_BF.numpy()} & held
    kept = (~np.isnan(joined.y_BP)).sum(axis=0)
    assert kept.tolist() == [
        pool.card.splits["train"] - joined.withheld[0],
        published.card.splits["train"] - joined.withheld[1],
    ]


def test_excluded_compositions_are_in_no_row(store: Store) -> None:
    """Neither of one dataset nor of two. The values of the excluded ones are those below 30 that 3 does not divide."""
    one = tiny.dataset(store, "user/one", values=[float(i) for i in range(84)])
    other = tiny.dataset(store, "user/other", tiny.FORMULAS[:60], [float(i) for i in range(60)])
    sides = ["test" if i % 3 else "train" for i in range(30)]
    excluded = keys_tested_on([tiny.dataset(store, "user/target", tiny.FORMULAS[:30], sides=sides)])
    for datasets in ([one], [one, other]):
        for split in SPLITS[:2]:
            joined = join(datasets, split, tiny.ENCODER, excluded)
            for p, data in enumerate(datasets):
                expected = [y for y in data.rows(split).y_B if y >= 30 or y % 3 == 0]
                assert sorted(labels(joined, p)) == sorted(expected)
                left_out = data.card.splits[split] - len(expected)
                assert joined.withheld[p] == rows_among(data, split, excluded) == left_out > 0
