"""Results: made once, by hand the same figures, and the test rows change no choice."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests import tiny
from xtlray.chem.formula import composition_keys, parse
from xtlray.data.dataset import Dataset
from xtlray.nn.members import ConstantMember
from xtlray.nn.packing import pack_members
from xtlray.nn.tensors import pack_tensors
from xtlray.nn.warp import long_tailed
from xtlray.records import ResultRecord, TrialRecord
from xtlray.store import Store
from xtlray.transfer.answers import Mixture, mix, read_answers, single
from xtlray.transfer.plan import Arm, Facts, TrialSpec, arms_of, first_trials, further_trials, group_by_arm
from xtlray.transfer.scoring import HeldOutRows, Reference, Source, pack_model, score
from xtlray.transfer.selection import choose_lowest
from xtlray.transfer.settings import ENSEMBLE, TransferSettings
from xtlray.transfer.task import make_pool
from xtlray.transfer.trial import keep_file, leave_record, run_trial

ARM = Arm("user/gap", "sc-dl-ef", None)
REFERENCE = Reference(0.25, 0.5)
SIDES = ["train"] * 60 + ["test"] * 24


def published(store: Store, test_values: Any = None) -> Dataset:
    values = [len(text) + 0.1 * i for i, text in enumerate(tiny.FORMULAS)]
    return tiny.dataset(
        store, values=[*values[:60], *(values[60:] if test_values is None else test_values)], sides=SIDES
    )


def constants(store: Store, data: Dataset, *answers: float, arm: Arm = ARM) -> list[TrialRecord]:
    """Records of trials whose members answer a constant, one for each seed."""
    pool, records = make_pool(data, tiny.INPUT), []
    for seed, value in enumerate(answers):
        task = pool.task(seed)
        (member,), _ = pack_members([ConstantMember(value)])
        said = {"fold": np.full(len(task.val_B), value), "test": np.full(len(pool.x_test_TX), value)}
        packed = pack_tensors({name: torch.from_numpy(each) for name, each in said.items()})
        outcome = {
            "status": "ok",
            "val_mae": float(np.abs(task.y_val_B - value).mean()),
            "predictions": keep_file(store, tiny.SWEEP, "answers.safetensors", packed),
            "member": member,
            "seconds": 2.0,
        }
        spec = TrialSpec(arm, pool.data_hash, {"lr": 0.1}, seed)
        records.append(leave_record(store, tiny.SWEEP, spec, pool, outcome))
    return records


def only(store: Store, data: Dataset, records: list[TrialRecord], arm: Arm = ARM) -> Mixture | None:
    """The mixture of one arm."""
    pool = make_pool(data, tiny.INPUT)
    answers = read_answers(store, records, pool)
    return single(arm, answers, pool) if answers else None


def scored(
    store: Store,
    data: Dataset,
    records: list[TrialRecord],
    arm: Arm = ARM,
    sources: dict[str, Source] | None = None,
    mixture: Mixture | None = None,
) -> ResultRecord:
    pool = make_pool(data, tiny.INPUT)
    test = partial(HeldOutRows.of, data, pool, tiny.INPUT)
    mixture = mixture or only(store, data, records, arm)
    return score(store, tiny.SWEEP, arm, mixture, records, pool, data, test, REFERENCE, sources or {})


def test_a_result_by_hand(store: Store) -> None:
    data = published(store)
    pool = make_pool(data, tiny.INPUT)
    records = constants(store, data, 8.0, 10.0)
    result = scored(store, data, records)
    y_test, first, second = data.rows("test").y_B, pool.task(0).y_val_B, pool.task(1).y_val_B
    assert result.val_mae == pytest.approx(np.abs([*(first - 8), *(second - 10)]).mean())
    assert result.test_mae == pytest.approx(np.abs(y_test - 9).mean())
    each = [np.abs(y_test - 8).mean(), np.abs(y_test - 10).mean()]
    assert result.test_mae_spread == pytest.approx(abs(each[0] - each[1]) / 2)
    assert result.base_mae == pytest.approx(np.abs(y_test - pool.y_B.mean()).mean())
    assert (result.seeds, result.config, result.status, result.error) == (2, {"lr": 0.1}, "ok", None)
    assert (result.rows_train, result.rows_val, result.rows_test) == (60, len(first) + len(second), 24)
    assert (result.ref_best_transfer, result.ref_best_scratch, result.unit) == (0.25, 0.5, "eV")
    assert (result.seconds, result.protocol) == (4.0, "out-of-fold-mae-1")
    assert result.trials == [record.trial for record in records]
    assert (result.data_hash, result.split_id) == (data.card.data_hash, data.card.split_id)

    half = np.sort(np.abs([*(first - 8), *(second - 10)]))[int(np.ceil(0.9 * (result.rows_val + 1))) - 1]
    assert result.interval_width == pytest.approx(2 * half)
    assert result.interval_coverage == pytest.approx((np.abs(y_test - 9) <= half).mean())
    assert result.predictions is not None
    assert result.predictions.startswith(f"runs/tiny-00000000/predictions/{ARM.slug}-")
    kept = pq.read_table(io.BytesIO(store.get(result.predictions)))
    assert kept["formula"].to_pylist() == data.rows("test").formulas
    assert kept["value"].to_pylist() == y_test.tolist()
    assert set(kept["predicted"].to_pylist()) == {9.0}
    assert set(kept["spread"].to_pylist()) == {1.0}
    assert kept["lower"].to_pylist() == pytest.approx([9 - half] * 24)
    assert kept["upper"].to_pylist() == pytest.approx([9 + half] * 24)


def test_an_ensemble_says_what_it_consists_of(store: Store) -> None:
    data = published(store)
    pool = make_pool(data, tiny.INPUT)
    low, high = Arm("user/gap", "base", None), Arm("user/gap", "tl-finetune", "m@1")
    records = {low: constants(store, data, 2.0, 2.0, arm=low), high: constants(store, data, 11.0, 11.0, arm=high)}
    found = {arm: read_answers(store, each, pool) for arm, each in records.items()}
    mixed = mix({arm: answers for arm, answers in found.items() if answers}, pool)
    assert mixed is not None
    assert len(mixed.parts) == 2
    arm = Arm("user/gap", ENSEMBLE, None)
    both = [*records[low], *records[high]]
    result = scored(store, data, both, arm, {"m@1": Source("f" * 64, None)}, mixed)
    weights = {part.method: weight for part, weight, _ in mixed.parts}
    assert {each["method"]: each["weight"] for each in result.config["members"]} == weights
    assert (result.source, result.source_hash) == ("m@1", "f" * 64)
    assert (result.val_mae, result.rows_val) == (mixed.val_mae, mixed.rows_val)
    assert sorted(result.trials) == sorted(record.trial for record in both)
    answer = 2 * weights["base"] + 11 * weights["tl-finetune"]
    assert result.test_mae == pytest.approx(np.abs(data.rows("test").y_B - answer).mean())
    members, _ = pack_model(store, mixed)
    assert sum(member.weight or 0 for member in members) == pytest.approx(1)
    assert {(member.value, member.group) for member in members} == {(2.0, 0), (11.0, 1)}


def test_an_ensemble_of_one_arm_says_which(store: Store) -> None:
    data = published(store)
    pool = make_pool(data, tiny.INPUT)
    answers = read_answers(store, constants(store, data, 8.0, 8.0), pool)
    assert answers is not None
    result = scored(store, data, [], Arm("user/gap", ENSEMBLE, None), mixture=mix({ARM: answers}, pool))
    assert [each["method"] for each in result.config["members"]] == ["sc-dl-ef"]


def test_rows_that_were_trained_on_are_told_apart(store: Store) -> None:
    """Of four test rows two are of compositions in the training rows, written otherwise; two of them are twins."""
    formulas = [*tiny.FORMULAS[:40], "Li2O2", "Na3O3", "CuAg", "Cu2Ag2"]
    values = [float(i) for i in range(40)] + [100.0, 110.0, 120.0, 124.0]
    known = ["LiO", "NaO"]
    data = tiny.dataset(
        store, formulas=[*known, *formulas], values=[1.0, 2.0, *values], sides=["train"] * 42 + ["test"] * 4
    )
    pretrained = frozenset(composition_keys(parse(["CuAg"])[0]))
    arm = Arm("user/gap", "tl-finetune", "m@1")
    records = constants(store, data, 105.0, arm=arm)
    result = scored(store, data, records, arm, {"m@1": Source("f" * 64, pretrained)})
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
    first = scored(store, data, constants(store, data, 8.0))
    assert scored(store, data, constants(store, data, 7.0)) == first


def test_without_test_rows_test_figures_are_null(store: Store) -> None:
    data = tiny.dataset(store, formulas=("LiO", "NaO"))
    assert data.card.splits["test"] == 0
    result = scored(store, data, constants(store, data, 8.0))
    assert result.val_mae is not None
    assert (result.test_mae, result.test_mae_spread, result.base_mae, result.rows_test) == (None, None, None, 0)
    assert store.list("runs/tiny-00000000/predictions") == []


def test_an_arm_whose_trials_failed_has_a_result_that_says_so(store: Store) -> None:
    data = published(store)
    pool = make_pool(data, tiny.INPUT)
    spec = TrialSpec(ARM, pool.data_hash, {"lr": 1}, 0)
    failed = leave_record(store, tiny.SWEEP, spec, pool, {"status": "failed", "error": "it broke", "seconds": 1.0})
    result = scored(store, data, [failed])
    assert (result.status, result.error, result.seeds) == ("failed", "it broke", 0)
    assert (result.val_mae, result.test_mae, result.config, result.trials) == (None, None, {}, [])
    assert result.base_mae is not None


def test_test_rows_that_the_input_cannot_hold_are_left_out(store: Store) -> None:
    formulas = (*tiny.FORMULAS[:80], "HeO", "NeO", "LiO7", "ArO")
    data = tiny.dataset(store, formulas=formulas, sides=["train"] * 80 + ["test"] * 4)
    assert scored(store, data, constants(store, data, 8.0)).rows_test == 1


def test_errors_beyond_numbers_are_null(store: Store) -> None:
    """The mean of the training targets overflows here."""
    data = tiny.dataset(store, values=[1.7e308 - i for i in range(84)], sides=SIDES)
    result = scored(store, data, [])
    assert (result.status, result.base_mae, result.val_mae) == ("failed", None, None)


# --- no choice hangs on the test rows --------------------------------------------------------------------------------

METHODS = ("base", "sc-ml-ef", "sc-dl-ef", ENSEMBLE)
JOB = {
    "targets": "user/gap",
    "methods": METHODS,
    "seeds": 2,
    "effort": "standard",
    "net": tiny.NET,
    "regressors": {"standard": {"ridge": "all", "decision_tree": "all"}},
}


def swept(store: Store, data: Dataset) -> tuple[list[Any], list[ResultRecord]]:
    """Both rungs, the mixtures and the results of a job: what was chosen and made of it, and the results."""
    pool, job = make_pool(data, tiny.INPUT), TransferSettings.parse(JOB, "job.yaml")
    # One hash for all, for the trial ids that it is part of.
    facts = {"user/gap": Facts("a" * 64, len(pool.y_B), long_tailed(pool.y_B))}
    records: dict[str, TrialRecord] = {}

    def run(specs: list[TrialSpec]) -> list[TrialSpec]:
        for spec in specs:
            few = {**spec.config, **({"epochs": 3} if "epochs" in spec.config else {})}
            records[spec.id] = run_trial(store, tiny.SWEEP, replace(spec, config=few), pool, {})
        return specs

    first = run(first_trials(arms_of(job, ["user/gap"], []), job, facts, {}))
    further = run(further_trials(first, job, facts, records))
    found = {}
    for arm, specs in group_by_arm([*first, *further]).items():
        answers = read_answers(store, [records[spec.id] for spec in specs], pool)
        assert answers is not None
        found[arm] = answers
    mixtures = {arm: single(arm, answers, pool) for arm, answers in found.items()}
    mixed = mix(found, pool)
    assert mixed is not None
    mixtures[Arm("user/gap", ENSEMBLE, None)] = mixed
    results = {arm: scored(store, data, [], arm, mixture=mixture) for arm, mixture in mixtures.items()}
    said: list[Any] = [sorted(records), {record.trial: record.val_mae for record in records.values()}]
    for arm, mixture in mixtures.items():
        interval = mixture.interval.as_json() if mixture.interval else None
        result = results[arm]
        said += [arm, mixture.weights, mixture.groups, mixture.val_mae, interval, pack_model(store, mixture)[0]]
        members = tiny.load_members(store, mixture.records, 86)
        said.append([member.predict(tiny.inputs(5)).tolist() for member in members])
        said += [result.config, result.val_mae, result.trials, result.interval_width]
    said.append(choose_lowest((result.val_mae, arm.slug, arm) for arm, result in results.items()))
    return said, list(results.values())


@pytest.mark.parametrize("scale", [1000.0, -1.0, 0.0])
def test_the_test_rows_change_no_choice(tmp_path: Any, scale: float) -> None:
    """The same rows to train on with other test values: the same trials, weights, models, intervals, choice."""
    values = [3 + 0.7 * i for i in range(24)]
    others = [scale * value for value in np.random.default_rng(0).permutation(values)]
    one, two = (Store.open(str(tmp_path / name)) for name in ("one", "two"))
    before, results = swept(one, published(one, values))
    after, changed = swept(two, published(two, others))
    assert before == after
    for a, b in zip(results, changed, strict=True):
        assert a.test_mae != b.test_mae  # the test errors themselves did change


def test_members_of_a_model_are_those_of_its_trials(store: Store) -> None:
    data = published(store)
    records = constants(store, data, 8.0, 10.0)
    assert [member.predict(tiny.inputs(1))[0] for member in tiny.load_members(store, records, 86)] == [8.0, 10.0]
    mixture = only(store, data, records)
    assert mixture is not None
    members, files = pack_model(store, mixture)
    assert [(member.value, member.weight, member.group) for member in members] == [(8.0, 0.5, 0), (10.0, 0.5, 0)]
    assert files == {}
