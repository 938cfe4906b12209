"""Folds and tasks: compositions stay together, the validation side is fold 0, and test values are nowhere."""

from __future__ import annotations

import pickle
from collections import defaultdict
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from tests import tiny
from xtlray.chem.formula import composition_keys
from xtlray.data.inputs import InputEncoder
from xtlray.errors import RequestError, WorkError
from xtlray.nn import members
from xtlray.nn.features import Block, Features
from xtlray.nn.members import NetMember
from xtlray.store import Store
from xtlray.transfer.task import FOLDS, Pool, folds_of, make_pool

SIDES = ["train"] * 60 + ["test"] * 24


@pytest.mark.parametrize("folds", [1, 2, 9, 10])
def test_compositions_are_dealt_out_whole_and_evenly(folds: int) -> None:
    twins = [text.replace("Li", "Li1.0") for text in tiny.FORMULAS[:30]]  # the same compositions, written otherwise
    compositions = tiny.parsed([*tiny.FORMULAS, *twins])
    fold_B = folds_of(compositions, folds)
    by_composition = defaultdict(set)
    for key, fold in zip(composition_keys(compositions), fold_B, strict=True):
        by_composition[key].add(int(fold))
    assert {len(found) for found in by_composition.values()} == {1}
    sizes = np.bincount([next(iter(found)) for found in by_composition.values()])
    assert len(sizes) == folds
    assert sizes.max() - sizes.min() <= 1


def test_folds_hang_on_the_compositions_alone() -> None:
    order = np.random.default_rng(0).permutation(len(tiny.FORMULAS))
    plain = folds_of(tiny.parsed(tiny.FORMULAS))
    mixed = folds_of(tiny.parsed([tiny.FORMULAS[i] for i in order]))
    assert np.array_equal(mixed, plain[order])


@pytest.mark.parametrize(("formulas", "expected"), [
    (["LiO"], [0]),
    (["LiO", "Li2O2", "Li3O3"], [0, 0, 0]),
])  # fmt: skip
def test_one_composition_is_one_fold(formulas: list[str], expected: list[int]) -> None:
    assert folds_of(tiny.parsed(formulas)).tolist() == expected


@pytest.mark.parametrize("count", [2, 3, 8])
def test_few_compositions_are_as_many_folds(count: int) -> None:
    assert sorted(folds_of(tiny.parsed(tiny.FORMULAS[:count]))) == list(range(count))


# --- pools -----------------------------------------------------------------------------------------------------------


def test_fold_0_is_the_validation_side_and_the_others_divide_the_training_side(store: Store) -> None:
    data = tiny.dataset(store)
    pool = make_pool(data, tiny.INPUT)
    assert (pool.target, pool.data_hash, pool.split_id) == ("user/gap", data.card.data_hash, data.card.split_id)
    assert pool.folds == FOLDS
    first = pool.task(0)
    assert first.y_val_B.tolist() == data.rows("val").y_B.tolist()
    assert first.y_train_B.tolist() == data.rows("train").y_B.tolist()
    assert np.bincount(pool.fold_B).min() > 0
    assert len(pool.x_test_TX) == data.card.splits["test"]


def test_seeds_go_round_the_folds_and_each_row_is_held_out_once(store: Store) -> None:
    pool = make_pool(tiny.dataset(store), tiny.INPUT)
    held = [pool.task(seed).val_B for seed in range(pool.folds)]
    assert sorted(np.concatenate(held)) == list(range(len(pool.y_B)))
    for seed, val_B in enumerate(held):
        task = pool.task(seed)
        assert sorted([*val_B, *task.train_B]) == list(range(len(pool.y_B)))
        assert pool.task(seed + pool.folds) is task
        assert np.array_equal(task.x_val_BX, pool.x_BX[val_B])


def test_the_scaler_is_of_the_training_rows() -> None:
    task = tiny.task()
    assert task.scaler().mean == pytest.approx((task.y_train_B.mean(),))
    assert task.scaler("log").warp is not None
    assert task.scaler("log").inverse(task.scaler("log").transform(task.y_train_B[:, None])) == pytest.approx(
        task.y_train_B[:, None]
    )


def test_a_pool_holds_no_test_value(store: Store) -> None:
    """Whatever the test values are, the pool is the same to the byte; no field of it could hold them."""
    values = [1.0 + i for i in range(84)]
    other = [*values[:60], *(7e6 - i for i in range(24))]
    pools = []
    for name, each in (("user/one", values), ("user/two", other)):
        pool = make_pool(tiny.dataset(store, name, values=each, sides=SIDES), tiny.INPUT)
        assert set(pool.y_B) == set(values[:60])
        pools.append({each.name: getattr(pool, each.name) for each in fields(pool)})
    for name in ("x_BX", "y_B", "fold_B", "x_test_TX", "skipped", "fractions"):
        assert pickle.dumps(pools[0][name]) == pickle.dumps(pools[1][name])  # what travels to a trial
    assert set(pools[0]) - {"x_BX", "y_B", "fold_B", "x_test_TX", "skipped", "fractions"} == {
        "target",
        "data_hash",
        "split_id",
    }
    assert pools[0]["x_test_TX"].shape == (24, 86)


def test_rows_that_the_input_cannot_hold_are_left_out_and_counted(store: Store) -> None:
    data = tiny.dataset(store, formulas=(*tiny.FORMULAS, "HeO", "NeO", "ArO"))
    pool = make_pool(data, tiny.INPUT)
    assert sum(pool.skipped.values()) == 3
    assert len(pool.y_B) + len(pool.x_test_TX) == len(tiny.FORMULAS)
    assert len(pool.x_test_TX) == data.card.splits["test"] - pool.skipped["test"]


def test_a_target_of_other_elements_only_is_refused(store: Store) -> None:
    data = tiny.dataset(store, formulas=("He2O", "NeO", "ArO"))
    with pytest.raises(WorkError, match=r"no train rows that the net's input can hold.*user/gap"):
        make_pool(data, tiny.INPUT)


def test_polymorphs_of_one_composition_are_refused(store: Store) -> None:
    """There is nothing to judge by, whatever the test rows."""
    with pytest.raises(RequestError, match=r"too small to train on some rows.*1 different composition in 4 rows"):
        tiny.dataset(store, formulas=("Li", "Li2", "Li3", "Li4"))
    with pytest.raises(RequestError, match="1 different composition in 3 rows"):
        tiny.dataset(store, formulas=("Li", "Li2", "Li3", "NaO"), sides=["train"] * 3 + ["test"])
    two = make_pool(tiny.dataset(store, formulas=("Li", "Li2", "Na", "Na2")), tiny.INPUT)
    assert two.folds == 2


def test_attributes_come_behind_the_fractions(store: Store) -> None:
    data = tiny.dataset(store, formulas=tiny.FORMULAS[:20])
    plain, wide = (make_pool(data, InputEncoder(tiny.ENCODER, attributes)) for attributes in (False, True))
    assert (plain.fractions, wide.fractions) == (86, 86)
    assert np.array_equal(wide.x_BX[:, :86], plain.x_BX)
    assert wide.x_BX.shape[1] == wide.x_test_TX.shape[1] > 200


# --- what trials ask for ---------------------------------------------------------------------------------------------


def test_a_part_is_drawn_from_the_training_rows_alone() -> None:
    task = tiny.task(60, 20)
    part, same, other = (task.part(15, seed) for seed in (0, 0, 1))
    assert len(set(part.train_B)) == 15
    assert set(part.train_B) < set(task.train_B)
    assert np.array_equal(part.val_B, task.val_B)
    assert np.array_equal(part.train_B, same.train_B)
    assert not np.array_equal(part.train_B, other.train_B)
    assert np.array_equal(task.part(60, 0).train_B, task.train_B)


@pytest.mark.parametrize("all_at_once", [True, False])
def test_a_source_looks_once_for_all_tasks_of_a_pool(all_at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, source, asked = tiny.pool(), tiny.net_member(), []
    rows = len(pool.y_B) + len(pool.x_test_TX)
    limit = 4 * rows * source.width - (not all_at_once)
    monkeypatch.setattr("xtlray.transfer.task._REMEMBERED_BYTES", limit)
    plain = members.apply_in_chunks

    def apply(function: Any, x_BF: Any) -> Any:
        asked.append(len(x_BF))
        return plain(function, x_BF)

    def columns(pool: Pool, source: NetMember, *kinds: Block) -> list[np.ndarray]:
        return [pool.task(0).columns(Features((block,), (source,), 86))[0] for block in kinds]

    first, second, answers = (Block("activations", 1), Block("activations", 2), Block("answers"))
    wanted = (second, answers)
    with monkeypatch.context() as patch:
        patch.setattr(members, "apply_in_chunks", apply)
        for seed in range(3):
            pool.task(seed).columns(Features(wanted, (source,), 86))
    assert asked == [rows] * (1 if all_at_once else len(wanted))
    x_BX = pool.task(0).x_train_BX
    expected = (source.features(x_BX, 1), source.features(x_BX, 2), source.predict_all(x_BX))
    for found, same in zip(columns(pool, source, first, second, answers), expected, strict=True):
        assert np.allclose(found, same, atol=1e-6)
    (other,) = columns(tiny.pool(30), source, first)
    assert len(other) == 30
    (renewed,) = columns(pool, tiny.net_member(7), first)
    assert not np.allclose(renewed, expected[0])
