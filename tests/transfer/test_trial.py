"""One trial: always one record, created once, and what it says."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests import tiny
from xtlray.errors import RequestError, StoreError, WorkError
from xtlray.nn.members import ConstantMember
from xtlray.nn.tensors import unpack_tensors
from xtlray.nn.warp import long_tailed
from xtlray.store import Store
from xtlray.transfer.answers import mix, read_answers
from xtlray.transfer.method import Fitted
from xtlray.transfer.methods import METHODS
from xtlray.transfer.plan import COMPARE, KEEP, Arm, Facts, TrialSpec, arms_of, first_trials, further_trials
from xtlray.transfer.settings import TransferSettings
from xtlray.transfer.sweep import _check_share, run_trials
from xtlray.transfer.task import Pool, Task
from xtlray.transfer.trial import keep_file, leave_record, read_record, run_trial

POOL = tiny.pool()
TASK = POOL.task(0)
SPEC = TrialSpec(Arm("user/gap", "base", None), POOL.data_hash, {}, 0)
RECIPE = {"lr": 1e-3, "batch": 8, "epochs": 2, "weight_decay": 0.01}
FINETUNE = TrialSpec(Arm("user/gap", "tl-finetune", "m@1"), POOL.data_hash, RECIPE, 1)


def answering(monkeypatch: pytest.MonkeyPatch, fit: Any) -> None:
    """Let the method `base` be fitted by `fit`."""
    monkeypatch.setitem(METHODS, "base", replace(METHODS["base"], fit=fit))


def test_a_record_says_what_was_found(store: Store) -> None:
    record = run_trial(store, tiny.SWEEP, SPEC, POOL, {})
    errors = np.abs(TASK.y_val_B - TASK.y_train_B.mean())
    assert record.val_mae == pytest.approx(errors.mean())
    assert record.val_rmse == pytest.approx((errors**2).mean() ** 0.5)
    assert (record.status, record.error, record.files) == ("ok", None, {})
    assert (record.rows_train, record.rows_val, record.split_id) == (24, 8, "split")
    assert (record.rung, record.fold, record.protocol) == (KEEP, 0, "out-of-fold-mae-1")
    assert (record.run, record.attempt, record.commit) == ("tiny-00000000", 1, "abc")
    assert record.seconds > 0
    assert store.list("runs") == sorted([f"runs/tiny-00000000/trials/{SPEC.id}.json", str(record.predictions)])
    assert read_record(store, tiny.SWEEP, SPEC.id) == record
    assert read_record(store, tiny.SWEEP, "another") is None


def test_a_trial_with_a_record_is_not_run_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_trial(store, tiny.SWEEP, SPEC, POOL, {})

    def never(*_: Any) -> Fitted:
        raise AssertionError("it has run again")

    answering(monkeypatch, never)
    assert run_trial(store, replace(tiny.SWEEP, attempt=2), SPEC, POOL, {}) == first


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such thing"), "ValueError: no such thing"),
        (MemoryError(), "MemoryError: "),
        (WorkError("Training has diverged", got="epoch 3"), "WorkError: Training has diverged. Got: epoch 3."),
    ],
)
def test_a_trial_that_raises_is_a_record_too(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fails(*_: Any) -> Fitted:
        raise error

    answering(monkeypatch, fails)
    record = run_trial(store, tiny.SWEEP, SPEC, POOL, {})
    assert (record.status, record.error, record.val_mae, record.member) == ("failed", said, None, None)
    assert read_record(store, tiny.SWEEP, SPEC.id) == record


def test_a_store_that_fails_is_no_result_of_the_trial(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> Fitted:
        raise StoreError("The store could not write a key", got="members/x")

    answering(monkeypatch, lost)
    with pytest.raises(StoreError, match="could not write"):
        run_trial(store, tiny.SWEEP, SPEC, POOL, {})
    assert read_record(store, tiny.SWEEP, SPEC.id) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e200])
def test_answers_that_are_no_numbers_fail_the_trial(
    store: Store, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    answering(monkeypatch, lambda *_: Fitted(ConstantMember(value)))
    record = run_trial(store, tiny.SWEEP, SPEC, POOL, {})
    assert record.status == "failed"
    assert "not a number" in str(record.error)


def test_a_net_that_diverges_fails_the_trial(store: Store) -> None:
    wild = replace(FINETUNE, config={**RECIPE, "lr": 1e30})
    record = run_trial(store, tiny.SWEEP, wild, POOL, {"m@1": tiny.net_member()})
    assert record.status == "failed"
    assert "diverged" in str(record.error)


def test_files_of_a_member_are_named_by_their_content(store: Store) -> None:
    source = {"m@1": tiny.net_member()}
    record = run_trial(store, tiny.SWEEP, FINETUNE, POOL, source)
    assert record.source == "m@1"
    ((name, key),) = record.files.items()
    data = store.get(key)
    assert key == f"runs/tiny-00000000/members/{hashlib.sha256(data).hexdigest()}-{name}"
    assert keep_file(store, tiny.SWEEP, name, data) == key
    assert keep_file(store, tiny.SWEEP, name, b"other") != key
    (member,) = tiny.load_members(store, [record], 86)
    held = POOL.task(1)
    assert np.abs(member.predict(held.x_val_BX) - held.y_val_B).mean() == pytest.approx(record.val_mae)
    assert [entry["epoch"] for entry in record.history] == [1, 2]


def test_of_two_drivers_the_first_one_is_right(store: Store) -> None:
    outcome = {"status": "ok", "seconds": 1.0}
    first = leave_record(store, tiny.SWEEP, SPEC, POOL, {**outcome, "val_mae": 1.0})
    second = leave_record(store, replace(tiny.SWEEP, attempt=2), SPEC, POOL, {**outcome, "val_mae": 0.5})
    assert second == first
    assert (second.val_mae, second.attempt) == (1.0, 1)


def test_a_damaged_record_is_named(store: Store) -> None:
    store.create(tiny.SWEEP.record_key(SPEC.id), b'{"trial": "x"}')
    with pytest.raises(StoreError, match=f"TrialRecord in the store is damaged.*{SPEC.id}"):
        run_trial(store, tiny.SWEEP, SPEC, POOL, {})


def test_trials_that_all_have_their_records_need_no_ray(store: Store) -> None:
    record = run_trial(store, tiny.SWEEP, SPEC, POOL, {})

    def no_ray() -> Any:
        raise AssertionError("Ray was asked for")

    told: list[Any] = []
    found = run_trials(
        store,
        tiny.SWEEP,
        [SPEC],
        {"user/gap": POOL},
        {},
        stage="configurations",
        share=(1, 0),
        session=no_ray,
        on_record=lambda record, fresh: told.append((record.trial, fresh)),
    )
    assert found == {SPEC.id: record}
    assert told == [(SPEC.id, False)]


@pytest.mark.parametrize(
    ("share", "cluster"), [((4, 0), {"CPU": 2.0}), ((1, 0.5), {"CPU": 2.0}), ((1, 2), {"CPU": 2.0, "GPU": 1.0})]
)
def test_a_trial_that_fits_nowhere_is_refused(share: tuple[float, float], cluster: dict[str, float]) -> None:
    with pytest.raises(RequestError, match="too small for a trial"):
        _check_share(*share, cluster)
    _check_share(1, 0.25, {"CPU": 1.0, "GPU": 1.0})


def test_one_is_waited_for_where_the_cluster_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTLRAY_CLUSTER_GROWS", "1")
    _check_share(4, 1, {})  # a head without cores, and no worker yet
    monkeypatch.setenv("XTLRAY_CLUSTER_GROWS", "0")
    with pytest.raises(RequestError, match="too small for a trial"):
        _check_share(4, 1, {})


# --- rungs -----------------------------------------------------------------------------------------------------------


def test_each_seed_holds_out_another_fold(store: Store) -> None:
    for seed in range(5):
        record = run_trial(store, tiny.SWEEP, replace(SPEC, seed=seed), POOL, {})
        task = POOL.task(seed)
        assert (record.fold, record.rows_val) == (seed % 4, len(task.val_B))
        assert record.val_mae == pytest.approx(np.abs(task.y_val_B - task.y_train_B.mean()).mean())


def test_answers_for_the_fold_and_the_test_rows_are_kept(store: Store) -> None:
    record = run_trial(store, tiny.SWEEP, FINETUNE, POOL, {"m@1": tiny.net_member()})
    (member,) = tiny.load_members(store, [record], 86)
    assert record.predictions is not None
    found = unpack_tensors(store.get(record.predictions), "test")
    assert found["fold"].numpy() == pytest.approx(member.predict(POOL.task(1).x_val_BX))
    assert found["test"].numpy() == pytest.approx(member.predict(POOL.x_test_TX))
    assert record.rows_per_s is not None


def test_a_trial_of_the_first_rung_keeps_its_errors_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, source = replace(FINETUNE, rung=COMPARE, config={**RECIPE, "epochs": 12}), {"m@1": tiny.net_member()}
    record = run_trial(store, tiny.SWEEP, spec, POOL, source)
    assert (record.rung, record.member, record.files, record.predictions) == (COMPARE, None, {}, None)
    assert len(record.history) == 2  # of 12 epochs
    assert record.config["epochs"] == 12
    assert record.val_mae is not None
    assert store.list("runs/tiny-00000000/members") == []

    monkeypatch.setattr("xtlray.transfer.budget._FEWEST_ROWS", 5)
    rows = []

    def fit(task: Task, *_: Any) -> Fitted:
        rows.append(len(task.train_B))
        return Fitted(ConstantMember(1.0))

    answering(monkeypatch, fit)
    for rung in (COMPARE, KEEP):
        run_trial(store, tiny.SWEEP, replace(SPEC, rung=rung), POOL, {})
    assert rows == [8, 24]


# --- small and strange targets ---------------------------------------------------------------------------------------


def strange(name: str) -> Pool:
    """Pools of twenty rows, by what is wrong with them."""
    pool = replace(tiny.pool(15, 5), fold_B=np.arange(20, dtype=np.uint8) % 10)
    if name == "constant":
        return replace(pool, y_B=np.full(20, 7.0))
    if name == "outlier":
        return replace(pool, y_B=np.where(np.arange(20) == 3, 1e9, pool.y_B))
    if name == "many equal":
        return replace(pool, y_B=np.where(np.arange(20) < 16, 0.0, pool.y_B))
    if name == "few elements":
        x_BX = pool.x_BX.copy()
        x_BX[:, :86] = 0.0
        x_BX[:, 3] = np.linspace(0, 1, 20)
        x_BX[:, 8] = 1 - x_BX[:, 3]
        return replace(pool, x_BX=x_BX)
    return pool


@pytest.mark.parametrize("name", ["few rows", "constant", "outlier", "many equal", "few elements"])
def test_small_and_strange_targets_are_modelled_all_the_same(store: Store, name: str) -> None:
    pool, source = strange(name), {"m@1": tiny.net_member()}
    facts = {"user/gap": Facts(pool.data_hash, len(pool.y_B), long_tailed(pool.y_B))}
    methods = ["base", "sc-ml-ef", "tl-ml-mixed", "tl-modfinetune"]
    table = {"quick": {"ridge": "all", "decision_tree": "all"}}
    given = {"targets": "user/gap", "methods": methods, "seeds": 2, "regressors": table}
    job = TransferSettings.parse(given, "job.yaml")
    arms = arms_of(job, ["user/gap"], ["m@1"])
    first = first_trials(arms, job, facts, {"m@1": tiny.NET})
    records = {spec.id: run_trial(store, tiny.SWEEP, spec, pool, source) for spec in map(shortened, first)}
    further = further_trials(map(shortened, first), job, facts, records)
    records |= {spec.id: run_trial(store, tiny.SWEEP, spec, pool, source) for spec in further}
    assert {record.error for record in records.values()} == {None}

    found = {}
    for arm in arms:
        mine = [record for record in records.values() if record.method == arm.method]
        answers = read_answers(store, mine, pool)
        assert answers is not None
        assert len(answers.records) == 2
        found[arm] = answers
    mixed = mix(found, pool)
    assert mixed is not None
    assert mixed.val_mae is not None
    if name == "constant":
        assert mixed.val_mae == pytest.approx(0, abs=1e-6)
    assert np.isfinite(mixed.test()[0]).all()


def shortened(spec: TrialSpec) -> TrialSpec:
    return replace(spec, config={**spec.config, "epochs": 3}) if "epochs" in spec.config else spec
