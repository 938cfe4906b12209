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
from xtlray.store import Store
from xtlray.transfer.method import Fitted
from xtlray.transfer.methods import METHODS
from xtlray.transfer.plan import Arm, TrialSpec
from xtlray.transfer.scoring import load_members
from xtlray.transfer.sweep import _check_share, run_trials
from xtlray.transfer.task import make_task
from xtlray.transfer.trial import keep_file, leave_record, read_record, run_trial

TASK = tiny.task()
SPEC = TrialSpec(Arm("user/gap", "base", None), TASK.data_hash, {}, 0)
RECIPE = {"lr": 1e-3, "batch": 8, "epochs": 2, "weight_decay": 0.01}
FINETUNE = TrialSpec(Arm("user/gap", "tl-finetune", "m@1"), TASK.data_hash, RECIPE, 1)


def answering(monkeypatch: pytest.MonkeyPatch, fit: Any) -> None:
    """Let the method `base` be fitted by `fit`."""
    monkeypatch.setitem(METHODS, "base", replace(METHODS["base"], fit=fit))


def test_a_record_says_what_was_found(store: Store) -> None:
    record = run_trial(store, tiny.SWEEP, SPEC, TASK, {})
    errors = np.abs(TASK.y_val_B - TASK.y_train_B.mean())
    assert record.val_mae == pytest.approx(errors.mean())
    assert record.val_rmse == pytest.approx((errors**2).mean() ** 0.5)
    assert (record.status, record.error, record.files) == ("ok", None, {})
    assert (record.rows_train, record.rows_val, record.split_id) == (24, 8, "split")
    assert (record.run, record.attempt, record.commit) == ("tiny-00000000", 1, "abc")
    assert record.seconds > 0
    assert store.list("runs") == [f"runs/tiny-00000000/trials/{SPEC.id}.json"]
    assert read_record(store, tiny.SWEEP, SPEC.id) == record
    assert read_record(store, tiny.SWEEP, "another") is None


def test_a_trial_with_a_record_is_not_run_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_trial(store, tiny.SWEEP, SPEC, TASK, {})

    def never(*_: Any) -> Fitted:
        raise AssertionError("it has run again")

    answering(monkeypatch, never)
    assert run_trial(store, replace(tiny.SWEEP, attempt=2), SPEC, TASK, {}) == first


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
    record = run_trial(store, tiny.SWEEP, SPEC, TASK, {})
    assert (record.status, record.error, record.val_mae, record.member) == ("failed", said, None, None)
    assert read_record(store, tiny.SWEEP, SPEC.id) == record


def test_a_store_that_fails_is_no_result_of_the_trial(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> Fitted:
        raise StoreError("The store could not write a key", got="members/x")

    answering(monkeypatch, lost)
    with pytest.raises(StoreError, match="could not write"):
        run_trial(store, tiny.SWEEP, SPEC, TASK, {})
    assert read_record(store, tiny.SWEEP, SPEC.id) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e200])
def test_answers_that_are_no_numbers_fail_the_trial(
    store: Store, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    answering(monkeypatch, lambda *_: Fitted(ConstantMember(value)))
    record = run_trial(store, tiny.SWEEP, SPEC, TASK, {})
    assert record.status == "failed"
    assert "not a number" in str(record.error)


def test_a_net_that_diverges_fails_the_trial(store: Store) -> None:
    wild = replace(FINETUNE, config={**RECIPE, "lr": 1e30})
    record = run_trial(store, tiny.SWEEP, wild, TASK, {"m@1": tiny.net_member()})
    assert record.status == "failed"
    assert "diverged" in str(record.error)


def test_files_of_a_member_are_named_by_their_content(store: Store) -> None:
    source = {"m@1": tiny.net_member()}
    record = run_trial(store, tiny.SWEEP, FINETUNE, TASK, source)
    assert record.source == "m@1"
    ((name, key),) = record.files.items()
    data = store.get(key)
    assert key == f"runs/tiny-00000000/members/{hashlib.sha256(data).hexdigest()}-{name}"
    assert keep_file(store, tiny.SWEEP, name, data) == key
    assert keep_file(store, tiny.SWEEP, name, b"other") != key
    (member,) = load_members(store, [record], 86)
    assert np.abs(member.predict(TASK.x_val_BX) - TASK.y_val_B).mean() == pytest.approx(record.val_mae)
    assert [entry["epoch"] for entry in record.history] == [1, 2]


def test_of_two_drivers_the_first_one_is_right(store: Store) -> None:
    outcome = {"status": "ok", "seconds": 1.0}
    first = leave_record(store, tiny.SWEEP, SPEC, TASK, {**outcome, "val_mae": 1.0})
    second = leave_record(store, replace(tiny.SWEEP, attempt=2), SPEC, TASK, {**outcome, "val_mae": 0.5})
    assert second == first
    assert (second.val_mae, second.attempt) == (1.0, 1)


def test_a_damaged_record_is_named(store: Store) -> None:
    store.create(tiny.SWEEP.record_key(SPEC.id), b'{"trial": "x"}')
    with pytest.raises(StoreError, match=f"TrialRecord in the store is damaged.*{SPEC.id}"):
        run_trial(store, tiny.SWEEP, SPEC, TASK, {})


def test_trials_that_all_have_their_records_need_no_ray(store: Store) -> None:
    record = run_trial(store, tiny.SWEEP, SPEC, TASK, {})

    def no_ray() -> Any:
        raise AssertionError("Ray was asked for")

    told: list[Any] = []
    found = run_trials(
        store,
        tiny.SWEEP,
        [SPEC],
        {"user/gap": TASK},
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


# --- what a trial sees -----------------------------------------------------------------------------------------------


def test_a_task_holds_no_test_row(store: Store) -> None:
    data = tiny.dataset(store)
    task = make_task(data, tiny.INPUT)
    assert (len(task.y_train_B), len(task.y_val_B)) == (data.card.splits["train"], data.card.splits["val"])
    assert (task.target, task.data_hash, task.split_id) == ("user/gap", data.card.data_hash, data.card.split_id)
    assert task.y_train_B.tolist() == data.rows("train").y_B.tolist()
    assert not [name for name in vars(task) if "test" in name]
    assert task.scaler.mean == pytest.approx((task.y_train_B.mean(),))


def test_rows_that_the_input_cannot_hold_are_left_out_and_counted(store: Store) -> None:
    data = tiny.dataset(store, formulas=(*tiny.FORMULAS, "HeO", "NeO", "ArO"))
    task = make_task(data, tiny.INPUT)
    rows = data.card.splits
    assert len(task.y_train_B) + len(task.y_val_B) + sum(task.skipped.values()) == rows["train"] + rows["val"]
    assert 0 < sum(task.skipped.values()) <= 3


def test_a_target_of_other_elements_only(store: Store) -> None:
    data = tiny.dataset(store, formulas=("He2O", "NeO", "ArO"))
    with pytest.raises(WorkError, match=r"no train rows that the net's input can hold.*user/gap"):
        make_task(data, tiny.INPUT)
