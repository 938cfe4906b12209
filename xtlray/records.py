"""The records that lie in the store as JSON: cards, trial records, results. Frozen, versioned, checked when read.

A record is the truth that tables and pages are folded from, so its fields only ever grow. Those of models have a file
of their own, and are found here as well.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from xtlray.model_records import FeatureBlock, Golden, Member, ModelCard, NetCard, PropertyCard, SplitMetrics
from xtlray.record import Record

__all__ = ["FeatureBlock", "Golden", "Member", "ModelCard", "NetCard", "PropertyCard", "Record", "SplitMetrics"]

Split = Literal["train", "val", "test"]
# How validation errors are made: MAE on the held-out validation rows. Another way gets another name, and errors of
# different names are never compared.
PROTOCOL = "holdout-mae-1"
OUT_OF_FOLD = "out-of-fold-mae-1"
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Part(Record):
    """One Parquet shard of a dataset. A shard holds rows of one split only."""

    file: str
    split: Split
    rows: int
    sha256: str


class Rejection(Record):
    """Rows of a user's file that were not kept, by reason."""

    reason: str
    count: int
    first_rows: list[int] = Field(description="the first few row numbers in the file: 1 is the first row of data")


class SourceFile(Record):
    """A file that rows were read from."""

    name: str
    split: Split | None = Field(None, description="the published side of its rows, None if they are cut here")
    rows: int
    sha256: str


class IngestReport(Record):
    """How a dataset was read: `rows_read = rows_kept + rows_rejected`, always."""

    rows_read: int
    rows_kept: int
    rows_rejected: int
    rejections: list[Rejection] = Field(default=[])
    rejected_file: str | None = Field(None, description="the rejected rows, a CSV beside the card")
    files: list[SourceFile] = Field(default=[])
    origin: str = Field("", description="where the rows came from: a publisher's repository, a mirror, a user's file")
    notes: list[str] = Field([], description="what a reader should know, such as rows fewer than published")
    retrieved: str = Field("", description="UTC date of reading, ISO 8601")


class DatasetCard(Record):
    """What a dataset version is. It lies beside its shards, written last.

    `splits` counts kept rows. `split_id` names the validation and test rows: errors may be compared only under
    the same one. `elements` counts the rows that hold each element.
    """

    name: str = Field(description="<source>/<property>")
    unit: str | None = Field(description="None where the unit is not known; `` would be dimensionless: say `1`")
    label: str
    data_hash: str = Field(description="SHA-256 over the kept rows in canonical order (split, formula, value)")
    split_id: str
    split_protocol: str = Field(description="how the sides were cut, in words")
    rows: int
    splits: dict[Split, int]
    rows_outside_plausible: int | None = Field(None, description="None where the catalog knows no plausible range")
    compositions: int = Field(description="distinct compositions, atomic fractions rounded to 5 decimals")
    elements: dict[str, int]
    target: dict[str, float] = Field(description="mean, std, min, max of the kept values, in the unit")
    parts: list[Part]
    licence: str | None = None
    citation: str | None = None
    source: str | None = None
    description: str | None = None
    warning: str | None = None
    ingest: IngestReport
    xtlray_version: str


class DatasetPointer(Record):
    """An entry of the log `datasets/<source>/<property>/current/`: which version the name means, and how it was read.

    The same rows can be read again by another route; the version stays, the newest report is here.
    """

    data_hash: str
    ingest: IngestReport


class TrialRecord(Record):
    """What one finished trial leaves: created once, validation figures only. Selection reads nothing else.

    A trial is one target × method × source × configuration × seed. The seed decides which fold is held out: `rows_val`
    rows, never shown to the fit. One of rung 0 had a part of the budget, to be compared with its like, and keeps no
    member.
    """

    SCHEMA: ClassVar[int] = 2  # 2: folds and rungs
    schema_version: int = 2

    trial: str
    run: str
    attempt: int
    target: str
    method: str
    source: str | None
    config: dict[str, Any]
    seed: int
    status: Literal["ok", "failed"]
    error: str | None = None
    protocol: str
    split_id: str
    rung: int = 1
    fold: int = 0
    rows_train: int
    rows_val: int
    val_mae: float | None = None
    val_rmse: float | None = None
    predictions: str | None = Field(None, description="where its answers for the fold and the test rows lie")
    rows_per_s: float | None = Field(None, description="test rows predicted a second, on one core")
    member: Member | None = None
    files: dict[str, str] = Field({}, description="store key of each file of the member, by file name")
    history: list[dict[str, Any]] = Field(default=[])
    seconds: float = 0.0
    commit: str | None = None
    versions: dict[str, str] = Field(default={})


INPUTS = {
    "fractions": "elemental_fractions",
    "attributes": "physical_attributes",
    "activations": "source_activations",
    "answers": "source_answers",
}
"""What a block of a member's features is called in cards and on the leaderboard."""


class ResultRecord(Record):
    """A leaderboard row: the chosen configuration of one target × method × source, its seeds averaged, scored once."""

    SCHEMA: ClassVar[int] = 2  # 2: out of fold, intervals
    schema_version: int = 2

    target: str
    unit: str | None
    method: str
    source: str | None
    seeds: int
    rows_train: int
    rows_val: int
    rows_test: int
    val_mae: float | None
    test_mae: float | None
    test_mae_spread: float | None = Field(description="standard deviation of the test MAE over the seeds")
    base_mae: float | None = Field(description="test MAE of the mean of the training targets")
    ref_best_transfer: float | None
    ref_best_scratch: float | None
    model: str | None = None
    run: str
    status: Literal["ok", "failed"]
    error: str | None = None
    seconds: float
    commit: str | None
    config: dict[str, Any] = Field(default={})
    trials: list[str] = Field(default=[])
    split_id: str = ""
    protocol: str = ""
    data_hash: str = ""
    input: str = Field("elemental_fractions", description="what the members read")
    source_hash: str | None = Field(None, description="SHA-256 of the source's card")
    test_rmse: float | None = None
    test_r2: float | None = None
    mae_over_base: float | None = Field(None, description="test MAE over that of the mean of the training targets")
    rows_test_new: int | None = Field(None, description="test rows whose composition was not trained on")
    test_mae_new_compositions: float | None = Field(None, description="test MAE on those")
    floor_mae: float | None = Field(
        None, description="the lowest test MAE of any model of compositions: rows that share one differ"
    )
    polymorph_mad: float | None = Field(
        None, description="mean absolute deviation among all rows that share a composition with another"
    )
    rows_test_pretrained: int | None = Field(
        None, description="test rows whose composition the source was pretrained on; None where that is not known"
    )
    trials_run: int | None = Field(None, description="trials of the arm, failed ones included")
    rows_per_s: float | None = Field(None, description="test rows predicted a second, on one core")
    hardware: str | None = None
    predictions: str | None = Field(None, description="where what was predicted for the test rows lies in the store")
    interval_coverage: float | None = Field(None, description="share of test rows within their 90 % interval")
    interval_width: float | None = Field(None, description="median width of the test rows' intervals, in the unit")
