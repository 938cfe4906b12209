"""What the leaderboard's two tables hold: their columns, and records as rows of them.

Columns are plain (texts, numbers, timestamps, lists of texts), so that any reader of Delta tables has them as they
are; what has no fixed shape, such as a configuration, is JSON text. `table_version` counts changes of what is here:
rows of an older one are made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from xtlray.records import ResultRecord, TrialRecord

TABLE_VERSION = 1
TEXT, NUMBER, COUNT = pa.string(), pa.float64(), pa.int64()
TEXTS, TIME = pa.list_(pa.string()), pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Layout:
    """A table: its name under `leaderboard/`, what it is, its columns in their order, which one names a row in a run.

    New columns come last: an older table gets them at its next fold.
    """

    name: str
    about: str
    key: str
    columns: Mapping[str, pa.DataType]

    @property
    def folder(self) -> str:
        return f"leaderboard/{self.name}"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(list(self.columns.items()))

    def table(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """The rows as Arrow data, in the columns of this table."""
        return pa.Table.from_pylist([dict(row) for row in rows], schema=self.schema)


RESULTS = Layout(
    "results",
    "xtlray: one row per leaderboard row, folded from runs/*/results/",
    "result",
    {
        "target": TEXT, "unit": TEXT, "method": TEXT, "source": TEXT, "seeds": COUNT, "rows_train": COUNT,
        "rows_val": COUNT, "rows_test": COUNT, "val_mae": NUMBER, "test_mae": NUMBER, "test_mae_spread": NUMBER,
        "base_mae": NUMBER, "ref_best_transfer": NUMBER, "ref_best_scratch": NUMBER, "model": TEXT, "run": TEXT,
        "status": TEXT, "error": TEXT, "seconds": NUMBER, "commit": TEXT, "split_id": TEXT, "input": TEXT,
        "source_hash": TEXT, "test_rmse": NUMBER, "test_r2": NUMBER, "mae_over_base": NUMBER, "rows_test_new": COUNT,
        "test_mae_new_compositions": NUMBER, "floor_mae": NUMBER, "polymorph_mad": NUMBER,
        "rows_test_pretrained": COUNT, "trials_run": COUNT, "rows_per_s": NUMBER, "hardware": TEXT,
        "interval_coverage": NUMBER, "interval_width": NUMBER,
        "result": TEXT, "published": TIME, "finished": TIME, "protocol": TEXT, "data_hash": TEXT, "predictions": TEXT,
        "trials": TEXTS, "config": TEXT, "record_version": COUNT, "table_version": COUNT,
    },
)  # fmt: skip
TRIALS = Layout(
    "trials",
    "xtlray: one row per trial record, folded from runs/*/trials/; histories and members are in the records",
    "trial",
    {
        "run": TEXT, "trial": TEXT, "target": TEXT, "method": TEXT, "source": TEXT, "seed": COUNT, "fold": COUNT,
        "rung": COUNT, "status": TEXT, "error": TEXT, "rows_train": COUNT, "rows_val": COUNT, "val_mae": NUMBER,
        "val_rmse": NUMBER, "epochs": COUNT, "seconds": NUMBER, "rows_per_s": NUMBER, "protocol": TEXT,
        "split_id": TEXT, "attempt": COUNT, "commit": TEXT, "config": TEXT, "versions": TEXT, "record_version": COUNT,
        "table_version": COUNT,
    },
)  # fmt: skip
TABLES = (TRIALS, RESULTS)


@dataclass(frozen=True)
class Entry:
    """A result as a run has it.

    Attributes:
        name: of its file.
        record: with the model that the run decided to publish it as, whether or not that is there still.
        published: when that model was made; `finished`: when the run was, None while it is not.
    """

    name: str
    record: ResultRecord
    published: datetime | None
    finished: datetime | None

    def as_row(self) -> dict[str, Any]:
        record = self.record
        return {
            **{name: getattr(record, name) for name in _IN_RECORD},
            "result": self.name,
            "published": self.published,
            "finished": self.finished,
            "config": _text(record.config),
            "record_version": record.schema_version,
            "table_version": TABLE_VERSION,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Entry:
        """The entry that `as_row` made the row of. Raises `ValueError` where none can have."""
        fields = dict(row)
        name, published, finished = (fields.pop(each) for each in ("result", "published", "finished"))
        fields |= {"config": json.loads(row["config"]), "schema_version": fields.pop("record_version")}
        del fields["table_version"]
        return cls(name, ResultRecord.model_validate(fields), published, finished)


_IN_RECORD = tuple(name for name in RESULTS.columns if name in ResultRecord.model_fields and name != "config")


def trial_row(run: str, name: str, record: TrialRecord) -> dict[str, Any]:
    """The row of a trial's record, which lies in the run under that name."""
    fields = {column: getattr(record, column, None) for column in TRIALS.columns}
    made = {
        "run": run,
        "trial": name,
        "epochs": len(record.history),
        "config": _text(record.config),
        "versions": _text(record.versions),
        "record_version": record.schema_version,
        "table_version": TABLE_VERSION,
    }
    return {**fields, **made}


def moment(text: Any) -> datetime | None:
    """The time that an ISO 8601 text names, in UTC; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
