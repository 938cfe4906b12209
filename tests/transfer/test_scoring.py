"""Results: made once, by hand the same figures, and the test rows change no choice."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import tiny
from xtlray.chem.formula import composition_keys, parse
from xtlray.data.dataset import Dataset
from xtlray.nn.members import ConstantMember, pack_members
from xtlray.records import ResultRecord, TrialRecord
from xtlray.store import Store
from xtlray.transfer.plan import Arm, TrialSpec
from xtlray.transfer.scoring import HeldOutRows, Reference, Source, chosen_records, load_members, pack_model, score_arm
from xtlray.transfer.selection import choose_lowest
from xtlray.transfer.task import make_task
from xtlray.transfer.trial import leave_record, run_trial

ARM = Arm("user/gap", "sc-dl-ef", None)
REFERENCE = Reference(0.25, 0.5)
SIDES = ["train"] * 60 + ["test"] * 24


def published(store: Store, test_values: Any = None) -> Dataset:
    values = [len(text) + 0.1 * i for i, text in enumerate(tiny.FORMULAS)]
    return tiny.dataset(
        store, values=[*values[:60], *(values[60:] if test_values is None else test_values)], sides=SIDES
    )


def constants(store: Store, data: Dataset, *answers: tuple[float, float, int]) -> list[TrialRecord]:
    """Records of trials whose members answer a constant: (lr, answer, seed)."""
    task, records = make_task(data, tiny.INPUT), []
    for lr, value, seed in answers:
        (member,), _ = pack_members([ConstantMember(value)])
        error = float(np.abs(task.y_val_B - value).mean())
        outcome = {"status": "ok", "val_mae": error, "member": member, "seconds": 2.0}
        spec = TrialSpec(ARM, task.data_hash, {"lr": lr}, seed)
        records.append(leave_record(store, tiny.SWEEP, spec, task, outcome))
    return records


def scored(
    store: Store, data: Dataset, records: list[TrialRecord], arm: Arm = ARM, source: Source | None = None
) -> ResultRecord:
    task = make_task(data, tiny.INPUT)
    test = partial(HeldOutRows.of, data, task, tiny.INPUT)
    return score_arm(store, tiny.SWEEP, arm, records, task, data, test, REFERENCE, source)


def test_a_result_by_hand(store: Store) -> None:
    data = published(store)
    records = constants(store, data, (0.1, 8.0, 0), (0.1, 10.0, 1), (0.2, 900.0, 0))
    result = scored(store, data, records)
    y_val, y_test, y_train = (data.rows(split).y_B for split in ("val", "test", "train"))
    assert result.val_mae == pytest.approx(np.abs(y_val - 9).mean())
    assert result.test_mae == pytest.approx(np.abs(y_test - 9).mean())
    each = [np.abs(y_test - 8).mean(), np.abs(y_test - 10).mean()]
    assert result.test_mae_spread == pytest.approx(abs(each[0] - each[1]) / 2)
    assert result.base_mae == pytest.approx(np.abs(y_test - y_train.mean()).mean())
    assert (result.seeds, result.config, result.status, result.error) == (2, {"lr": 0.1}, "ok", None)
    assert (result.rows_train, result.rows_val, result.rows_test) == (len(y_train), len(y_val), 24)
    assert (result.ref_best_transfer, result.ref_best_scratch, result.unit) == (0.25, 0.5, "eV")
    assert result.seconds == 6.0
    assert result.trials == [records[0].trial, records[1].trial]
    assert (result.data_hash, result.split_id) == (data.card.data_hash, data.card.split_id)

    assert result.predictions is not None
    assert result.predictions.startswith(f"runs/tiny-00000000/predictions/{ARM.slug}-")
    kept = pq.read_table(io.BytesIO(store.get(result.predictions)))
    assert kept["formula"].to_pylist() == data.rows("test").formulas
    assert kept["value"].to_pylist() == y_test.tolist()
    assert set(kept["predicted"].to_pylist()) == {9.0}
    assert set(kept["spread"].to_pylist()) == {1.0}


def test_rows_that_were_trained_on_are_told_apart(store: Store) -> None:
    """Of four test rows two are of compositions in the training rows, written otherwise; two of them are twins."""
    formulas = [*tiny.FORMULAS[:40], "Li2O2", "Na3O3", "CuAg", "Cu2Ag2"]
    values = [float(i) for i in range(40)] + [100.0, 110.0, 120.0, 124.0]
    known = ["LiO", "NaO"]
    data = tiny.dataset(
        store, formulas=[*known, *formulas], values=[1.0, 2.0, *values], sides=["train"] * 42 + ["test"] * 4
    )
    pretrained = frozenset(composition_keys(parse(["CuAg"])[0]))
    records = constants(store, data, (0.1, 105.0, 0))
    result = scored(store, data, records, Arm("user/gap", "tl-finetune", "m@1"), Source("f" * 64, pretrained))
    assert (result.rows_test, result.rows_test_new, result.rows_test_pretrained) == (4, 2, 2)
    assert result.test_mae == pytest.approx((5 + 5 + 15 + 19) / 4)
    assert result.test_mae_new_compositions == pytest.approx((15 + 19) / 2)
    assert result.floor_mae == pytest.approx((2 + 2) / 4)
    assert result.source_hash == "f" * 64
    assert result.test_rmse == pytest.approx(np.sqrt((25 + 25 + 225 + 361) / 4))
    assert (result.trials_run, result.input) == (1, "elemental_fractions")
    assert result.mae_over_base == pytest.approx((44 / 4) / result.base_mae)


def test_a_result_is_made_once(store: Store) -> None:
    data = published(store)
    first = scored(store, data, constants(store, data, (0.1, 8.0, 0)))
    assert scored(store, data, constants(store, data, (0.3, 7.0, 0))) == first


def test_without_test_rows_test_figures_are_null(store: Store) -> None:
    data = tiny.dataset(store, formulas=("LiO", "NaO"))
    assert data.card.splits["test"] == 0
    result = scored(store, data, constants(store, data, (0.1, 8.0, 0)))
    assert result.val_mae is not None
    assert (result.test_mae, result.test_mae_spread, result.base_mae, result.rows_test) == (None, None, None, 0)
    assert store.list("runs/tiny-00000000/predictions") == []


def test_an_arm_whose_trials_failed_has_a_result_that_says_so(store: Store) -> None:
    data = published(store)
    task = make_task(data, tiny.INPUT)
    spec = TrialSpec(ARM, task.data_hash, {"lr": 1}, 0)
    failed = leave_record(store, tiny.SWEEP, spec, task, {"status": "failed", "error": "it broke", "seconds": 1.0})
    result = scored(store, data, [failed])
    assert (result.status, result.error, result.seeds) == ("failed", "it broke", 0)
    assert (result.val_mae, result.test_mae, result.config, result.trials) == (None, None, {}, [])
    assert result.base_mae is not None


def test_test_rows_that_the_input_cannot_hold_are_left_out(store: Store) -> None:
    formulas = (*tiny.FORMULAS[:80], "HeO", "NeO", "LiO7", "ArO")
    data = tiny.dataset(store, formulas=formulas, sides=["train"] * 80 + ["test"] * 4)
    assert scored(store, data, constants(store, data, (0.1, 8.0, 0))).rows_test == 1


def test_errors_beyond_numbers_are_null(store: Store) -> None:
    """The mean of the training targets overflows here."""
    data = tiny.dataset(store, values=[1.7e308 - i for i in range(84)], sides=SIDES)
    result = scored(store, data, [])
    assert (result.status, result.base_mae, result.val_mae) == ("failed", None, None)


@pytest.mark.parametrize("scale", [1000.0, -1.0, 0.0])
def test_the_test_rows_change_no_choice(tmp_path: Any, scale: float) -> None:
    """The same training and validation rows with other test targets: the same trials, choices, models, val errors."""
    outcomes = []
    for name, factor in (("one", 1.0), ("two", scale)):
        store = Store.open(str(tmp_path / name))
        values = [factor * (3 + 0.7 * i) for i in range(24)]
        data = published(store, values[::-1] if name == "two" else values)
        task = make_task(data, tiny.INPUT)
        results = {}
        for method in ("base", "sc-dl-ef"):
            arm = Arm("user/gap", method, None)
            configs = (
                [{}]
                if method == "base"
                else [{"net": tiny.NET, "lr": r, "batch": 16, "epochs": 2, "weight_decay": 0.01} for r in (1e-3, 0.1)]
            )
            # One hash for both, for the trial ids that it is part of.
            specs = [TrialSpec(arm, "a" * 64, config, 0) for config in configs]
            records = [run_trial(store, tiny.SWEEP, spec, task, {}) for spec in specs]
            results[arm.slug] = scored(store, data, records, arm)
            members = pack_model(store, chosen_records(records), 86)
            outcomes.append((results[arm.slug].config, results[arm.slug].val_mae, results[arm.slug].trials, members))
        outcomes.append(choose_lowest((result.val_mae, slug, slug) for slug, result in results.items()))
        outcomes.append([result.test_mae for result in results.values()])
    half = len(outcomes) // 2
    assert outcomes[: half - 1] == outcomes[half:-1]
    assert outcomes[half - 1] != outcomes[-1]  # the test errors themselves did change


def test_members_of_a_model_are_those_of_its_trials(store: Store) -> None:
    data = published(store)
    records = constants(store, data, (0.1, 8.0, 0), (0.1, 10.0, 1))
    assert [member.predict(tiny.inputs(1))[0] for member in load_members(store, records, 86)] == [8.0, 10.0]
    members, files = pack_model(store, records, 86)
    assert [member.value for member in members] == [8.0, 10.0]
    assert files == {}
