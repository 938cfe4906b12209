"""The records that lie in the store as JSON: cards, trial records, results. Frozen, versioned, checked when read.

A record is the truth that tables and pages are folded from, so its fields only ever grow: a reader of a newer
schema fills what an older record lacks with defaults, and a record from the future is refused by name.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xtlray.errors import StoreError

Split = Literal["train", "val", "test"]
# How validation errors are made: MAE on the held-out validation rows. Another way gets another name, and errors of
# different names are never compared.
PROTOCOL = "holdout-mae-1"
OUT_OF_FOLD = "out-of-fold-mae-1"
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Record(BaseModel):
    """Base of all records: frozen, no unknown keys, a schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    SCHEMA: ClassVar[int] = 1
    schema_version: int = 1

    @classmethod
    def read(cls, value: Any, where: str) -> Self:
        """Check a JSON value that was read from `where` (a key, for the message). Raises `StoreError`."""
        found = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(found, int) and found > cls.SCHEMA:
            raise StoreError(
                f"A {cls.__name__} was written by a newer xtlray",
                got=f"schema version {found} in {where}",
                allowed=f"up to {cls.SCHEMA}",
                fix="upgrade xtlray",
            )
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise StoreError(
                f"A {cls.__name__} in the store is damaged",
                got=f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                fix="restore the file, or remove what it belongs to and make it again",
            ) from error

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types (tuples as lists)."""
        return self.model_dump(mode="json")


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
    rejections: list[Rejection] = []
    rejected_file: str | None = Field(None, description="the rejected rows, a CSV beside the card")
    files: list[SourceFile] = []
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


class FeatureBlock(Record):
    """Columns that a member reads: of the input, or of what one of its sources makes of it."""

    kind: Literal["fractions", "attributes", "activations", "answers"]
    layer: int | None = Field(None, description="of the activations")
    source: int = Field(0, description="place among the member's sources")


class Member(Record):
    """One member of a published model: a net on elemental fractions; or a net, or a scikit-learn head, on features.

    `net` is the net's name and settings (see `xtlray.nn`), its tensors lie in `weights.safetensors` under the
    prefix `<prefix>.`. Those of a member on features lie in parts of it: `net.`, `columns.` (the scale of each
    column), `source0.` and so on.
    """

    kind: Literal["net", "feature-net", "head", "constant"]
    net: dict[str, Any] | None = None
    prefix: str | None = None
    scaler: dict[str, list[float]] | None = None
    blocks: list[FeatureBlock] | None = Field(None, description="of a member on features; None in old cards")
    sources: list[dict[str, Any]] = Field([], description="net and scaler of each source that the blocks speak of")
    layer: int | None = Field(None, description="in old cards: how many hidden layers of its net a head reads")
    head: str | None = Field(None, description="file name of the skops head")
    bounds: tuple[float, float] | None = Field(None, description="between which a head's answers are kept, in the unit")
    value: float | None = Field(None, description="the answer of a constant, in the unit")
    weight: float | None = Field(None, description="in the mean over the members; None for equal weights")
    group: int | None = Field(None, description="members of one group differ only in seed and fold")

    @property
    def attributes(self) -> bool:
        """Whether it reads physical attributes."""
        return any(block.kind == "attributes" for block in self.blocks or [])


class SplitMetrics(Record):
    """Errors on the rows of one split, in the property's unit."""

    rows: int
    mae: float | None
    rmse: float | None = None
    r2: float | None = None


class PropertyCard(Record):
    """One of the properties that a model answers for: an output of its nets."""

    name: str = Field(description="the dataset whose property it is")
    label: str
    unit: str | None
    dataset: dict[str, Any] = Field(description="name, data hash, split id, rows per split")
    metrics: dict[str, SplitMetrics] = Field(description="errors by split, on the dataset's own rows")
    rows_train: int | None = Field(
        None,
        description="labels trained on: of rows that the input can hold, that no other property's dataset holds out "
        "and whose composition was not excluded",
    )
    elements_seen: dict[str, int] = Field(description="of those, how many hold each element")


class ModelCard(Record):
    """All there is to know of a published model; with its files it rebuilds the model.

    `files` maps each file to its SHA-256. `run` is the run that published it, `commit` the xtlray commit that made
    it (None outside a git checkout). `property`, `label`, `unit`, `dataset` and `metrics` speak of the first property.
    """

    SCHEMA: ClassVar[int] = 4  # 2: `properties`; 3: members on features; 4: weights, sources' files, intervals
    schema_version: int = 4

    name: str
    version: int
    property: str = Field(description="the dataset whose property it predicts")
    label: str
    unit: str | None
    input: str = Field("elemental_fractions", description="or elemental_fractions+physical_attributes")
    elements_encoded: list[str] = Field(description="what the input can hold")
    elements_seen: dict[str, int] = Field(
        description="training rows that hold each element, of the property for which they are most"
    )
    members: list[Member]
    method: str
    source_model: str | None = Field(None, description="name@version of the model that it was carried over from")
    copied_from: str | None = Field(None, description="name@version of the model that this one is a copy of")
    lineage: list[dict[str, Any]] = Field(
        [],
        description="from this model back to the first dataset; each says, if any, the datasets whose test "
        "compositions were left out of its rows",
    )
    dataset: dict[str, Any] = Field(description="name, data hash, split id, rows per split")
    metrics: dict[str, SplitMetrics]
    properties: list[PropertyCard] = Field([], description="one per output of its nets, in their order; see `answers`")
    history: list[dict[str, Any]] = Field(
        [],
        description="of training, in physical units: an epoch's `loss` and `val` are MAEs of the first property, "
        "`losses` and `vals` those of all",
    )
    run: str
    job: dict[str, Any]
    commit: str | None
    versions: dict[str, str]
    hardware: str
    created: str
    licence: str | None = None
    citation: str | None = None
    limits: str = ""
    interval: dict[str, float] | None = Field(
        None, description="`level`, `quantile`, `floor`: half a width is quantile × (spread between groups + floor)"
    )
    files: dict[str, str]

    def answers(self) -> list[PropertyCard]:
        """The properties that it answers for, in the order of its outputs; an old card's only one is its first."""
        return self.properties or [
            PropertyCard(
                name=self.property,
                label=self.label,
                unit=self.unit,
                dataset=self.dataset,
                metrics=self.metrics,
                rows_train=None,
                elements_seen=self.elements_seen,
            )
        ]


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
    history: list[dict[str, Any]] = []
    seconds: float = 0.0
    commit: str | None = None
    versions: dict[str, str] = {}


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
    config: dict[str, Any] = {}
    trials: list[str] = []
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
