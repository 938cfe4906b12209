"""Records: frozen, complete when written, tolerant of the past, strict about damage and the future."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from xtlray.errors import StoreError
from xtlray.records import IngestReport, Part, ResultRecord, SplitMetrics, TrialRecord

TRIAL: dict[str, Any] = {
    "schema_version": 1,
    "trial": "t1",
    "run": "demo-12345678",
    "attempt": 1,
    "target": "jarvis/klu",
    "method": "base",
    "source": None,
    "config": {},
    "seed": 0,
    "status": "ok",
    "protocol": "p1",
    "split_id": "s1",
    "rows_train": 81,
    "rows_val": 9,
}


def test_an_older_record_is_filled_with_defaults() -> None:
    record = TrialRecord.read(TRIAL, "trials/t1.json")
    assert record.val_mae is None
    assert record.error is None
    assert record.files == {}


def test_a_record_survives_json() -> None:
    report = IngestReport(rows_read=3, rows_kept=2, rows_rejected=1)
    assert IngestReport.read(report.as_json(), "card.json") == report
    assert report.as_json()["rejections"] == []


def test_a_record_is_frozen() -> None:
    part = Part(file="part-00000.parquet", split="train", rows=1, sha256="ab")
    with pytest.raises(ValidationError, match="frozen"):
        part.rows = 2  # type: ignore[misc]


def test_a_record_of_the_future_is_refused_by_name() -> None:
    with pytest.raises(StoreError, match="written by a newer xtlray") as caught:
        TrialRecord.read({**TRIAL, "schema_version": 99, "colour": "blue"}, "trials/t1.json")
    assert caught.value.got == "schema version 99 in trials/t1.json"
    assert caught.value.fix == "upgrade xtlray"


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ({"colour": "blue"}, "colour"),
        ({"status": "perhaps"}, "status"),
        ({"rows_train": "many"}, "rows_train"),
        ({"val_mae": float("nan")}, "val_mae"),
    ],
)
def test_a_damaged_record_is_refused_with_its_key_and_place(damage: dict[str, Any], where: str) -> None:
    with pytest.raises(StoreError, match="is damaged") as caught:
        TrialRecord.read({**TRIAL, **damage}, "trials/t1.json")
    assert caught.value.got is not None
    assert caught.value.got.startswith(f"trials/t1.json: {where}: ")


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_something_else_than_a_record_is_damage(value: Any) -> None:
    with pytest.raises(StoreError, match="is damaged"):
        TrialRecord.read(value, "trials/t1.json")


def test_selection_cannot_see_a_test_figure() -> None:
    """The rule of the science: a trial's record holds no test figure, so that nothing chosen from it can use one."""
    assert [name for name in TrialRecord.model_fields if "test" in name] == []


def test_a_result_has_the_columns_of_the_leaderboard() -> None:
    columns = [
        "target",
        "unit",
        "method",
        "source",
        "seeds",
        "rows_train",
        "rows_val",
        "rows_test",
        "val_mae",
        "test_mae",
        "test_mae_spread",
        "base_mae",
        "ref_best_transfer",
        "ref_best_scratch",
        "model",
        "run",
        "status",
        "error",
        "seconds",
        "commit",
    ]
    assert [name for name in columns if name not in ResultRecord.model_fields] == []


def test_missing_test_figures_are_null() -> None:
    assert SplitMetrics(rows=0, mae=None).as_json() == {
        "schema_version": 1,
        "rows": 0,
        "mae": None,
        "rmse": None,
        "r2": None,
        "mae_spread": None,
    }
