"""Records as rows of the tables: columns, types, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tests.leaderboard.test_fold import PUBLISHED_COLUMNS, result
from xtlray.leaderboard.rows import RESULTS, TRIALS, Entry, moment, trial_row
from xtlray.records import ResultRecord, TrialRecord

# As readers of the tables know them.
RESULT_COLUMNS = PUBLISHED_COLUMNS + (
    ", result, published, finished, protocol, data_hash, predictions, trials, config, record_version, table_version"
)
TRIAL_COLUMNS = (
    "run, trial, target, method, source, seed, fold, rung, status, error, rows_train, rows_val, val_mae, val_rmse, "
    "epochs, seconds, rows_per_s, protocol, split_id, attempt, commit, config, versions, record_version, table_version"
)
PLAIN = (pa.string(), pa.float64(), pa.int64(), pa.timestamp("us", "UTC"), pa.list_(pa.string()))


def trial(name: str = "t1", **changes: Any) -> TrialRecord:
    fields = {
        "trial": name, "run": "run-00000001", "attempt": 1, "target": "user/gap", "method": "sc-dl-ef", "source": None,
        "config": {"lr": 0.1}, "seed": 0, "status": "ok", "protocol": "p", "split_id": "s", "rows_train": 8,
        "rows_val": 2, "val_mae": 0.25, "history": [{"epoch": 1}, {"epoch": 2}], "versions": {"python": "3"},
    }  # fmt: skip
    return TrialRecord(**{**fields, **changes})


def test_columns_in_their_order_and_of_types_that_every_reader_has() -> None:
    assert ", ".join(RESULTS.columns) == RESULT_COLUMNS
    assert ", ".join(TRIALS.columns) == TRIAL_COLUMNS
    assert {*RESULTS.columns.values(), *TRIALS.columns.values()} <= {*PLAIN}


def test_no_field_of_a_result_is_forgotten() -> None:
    assert {*ResultRecord.model_fields} - {*RESULTS.columns} == {"schema_version"}  # which is record_version


@pytest.mark.parametrize(
    "record",
    [
        result(),
        result(val_mae=None, error="it diverged", unit=None),
        result(val_mae=0.1 + 0.2, config={"b": [1, {"é": None}], "a": 1e-300}, trials=["one", "two"], model="m@3"),
        result(schema_version=1, rows_test_new=0, source="a@1+b@2", predictions="runs/x", data_hash="d" * 64),
    ],
)
def test_a_result_is_the_same_after_it_was_a_row(record: ResultRecord) -> None:
    entry = Entry("user.gap--base.json", record, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None)
    (row,) = RESULTS.table([entry.as_row()]).to_pylist()
    assert Entry.from_row(row) == entry


def test_a_row_that_no_result_made_is_refused() -> None:
    row = Entry("a.json", result(), None, None).as_row()
    with pytest.raises(ValueError, match="rows_val"):
        Entry.from_row({**row, "rows_val": None})
    with pytest.raises(ValueError, match="Expecting value"):
        Entry.from_row({**row, "config": "lr 0.1"})


def test_the_row_of_a_trial() -> None:
    (row,) = TRIALS.table([trial_row("run-00000001", "t1", trial())]).to_pylist()
    assert (row["run"], row["trial"], row["epochs"], row["val_mae"]) == ("run-00000001", "t1", 2, 0.25)
    assert (row["config"], row["versions"]) == ('{"lr": 0.1}', '{"python": "3"}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("yesterday", None),
        (None, None),
        (7, None),
    ],
)
def test_moments(text: Any, expected: datetime | None) -> None:
    found = moment(text)
    assert found == expected
    assert found is None or found.utcoffset() == timedelta(0)
