"""The records of models: what a published model is, what its members are, how good it is, what it was to say."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from xtlray.record import Record


class FeatureBlock(Record):
    """Columns that a member reads: of the input, or of what one of its sources makes of it."""

    kind: Literal["fractions", "attributes", "activations", "answers"]
    layer: int | None = Field(default=None, description="of the activations")
    source: int = Field(default=0, description="place among the member's sources")


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
    blocks: list[FeatureBlock] | None = Field(default=None, description="of a member on features; None in old cards")
    sources: list[dict[str, Any]] = Field(
        default=[], description="net and scaler of each source that the blocks speak of"
    )
    layer: int | None = Field(default=None, description="in old cards: how many hidden layers of its net a head reads")
    head: str | None = Field(default=None, description="file name of the skops head")
    bounds: tuple[float, float] | None = Field(
        default=None, description="between which a head's answers are kept, in the unit"
    )
    value: float | None = Field(default=None, description="the answer of a constant, in the unit")
    weight: float | None = Field(default=None, description="in the mean over the members; None for equal weights")
    group: int | None = Field(default=None, description="members of one group differ only in seed and fold")

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
    mae_spread: float | None = Field(default=None, description="standard deviation of the MAE over seeds")


class NetCard(Record):
    """A net, or a regressor of scikit-learn, that members of a model are made of: what a search for nets goes by."""

    name: str = Field(description="of the net, such as elemnet; of a regressor its class, such as Ridge; or `constant`")
    role: Literal["member", "source"] = Field(description="whether it answers, or makes features for those that do")
    members: int = Field(description="how many members answer by it, or read it")
    settings: dict[str, Any] = Field(default={}, description="of a net: all that its shape follows from")
    weights: int | None = Field(default=None, description="trainable numbers of a net")


class Golden(Record):
    """A few inputs and what was answered for them at publication, by what readers get: packed, and unpacked again.

    Rows are formulas, columns the properties in the order of `ModelCard.answers`. A value is None where the answer
    was no number.
    """

    formulas: list[str]
    values: list[list[float | None]]
    lower: list[list[float | None]] | None = Field(default=None, description="where intervals begin, if there are any")
    upper: list[list[float | None]] | None = Field(default=None, description="where they end")
    tolerance: list[float] = Field(description="by property, in its unit: what lies farther off is another answer")


class PropertyCard(Record):
    """One of the properties that a model answers for: an output of its nets."""

    name: str = Field(description="the dataset whose property it is")
    label: str
    unit: str | None
    dataset: dict[str, Any] = Field(description="name, data hash, split id, rows per split")
    metrics: dict[str, SplitMetrics] = Field(description="errors by split, on the dataset's own rows")
    rows_train: int | None = Field(
        default=None,
        description="labels trained on: of rows that the input can hold, that no other property's dataset holds out "
        "and whose composition was not excluded",
    )
    elements_seen: dict[str, int] = Field(description="of those, how many hold each element")


class ModelCard(Record):
    """All there is to know of a published model; with its files it rebuilds the model.

    `files` maps each file to its SHA-256, `sizes` to its bytes. `run` is the run that published it, `commit` the
    xtlray commit that made it (None outside a git checkout). `property`, `label`, `unit`, `dataset` and `metrics` speak
    of the first property.
    """

    # 2: `properties`; 3: members on features; 4: weights, sources' files, intervals; 5: sizes, nets, golden answers
    SCHEMA: ClassVar[int] = 5
    schema_version: int = 5

    name: str
    version: int
    property: str = Field(description="the dataset whose property it predicts")
    label: str
    unit: str | None
    input: str = Field(default="elemental_fractions", description="or elemental_fractions+physical_attributes")
    elements_encoded: list[str] = Field(description="what the input can hold")
    elements_seen: dict[str, int] = Field(
        description="training rows that hold each element, of the property for which they are most"
    )
    members: list[Member]
    nets: list[NetCard] = Field(default=[], description="what the members are made of; empty in old cards")
    descriptors: list[str] = Field(default=[], description="kinds of columns that members read, see `records.INPUTS`")
    method: str
    source_model: str | None = Field(
        default=None, description="name@version of the model that it was carried over from"
    )
    copied_from: str | None = Field(default=None, description="name@version of the model that this one is a copy of")
    lineage: list[dict[str, Any]] = Field(
        default=[],
        description="from this model back to the first dataset; each says, if any, the datasets whose test "
        "compositions were left out of its rows",
    )
    dataset: dict[str, Any] = Field(description="name, data hash, split id, rows per split")
    metrics: dict[str, SplitMetrics]
    properties: list[PropertyCard] = Field(
        default=[], description="one per output of its nets, in their order; see `answers`"
    )
    history: list[dict[str, Any]] = Field(
        default=[],
        description="of training, in physical units: an epoch's `loss` and `val` are MAEs of the first property, "
        "`losses` and `vals` those of all",
    )
    run: str
    job: dict[str, Any]
    commit: str | None
    versions: dict[str, str]
    hardware: str
    environment: dict[str, Any] = Field(
        default={}, description="what else is known of where it was made: `platform`, `cores`"
    )
    created: str
    licence: str | None = None
    citation: str | None = None
    intended_use: str = ""
    limits: str = ""
    interval: dict[str, float] | None = Field(
        default=None,
        description="`level`, `quantile`, `floor`: half a width is quantile × (spread between groups + floor)",
    )
    golden: Golden | None = Field(default=None, description="None in old cards")
    files: dict[str, str]
    sizes: dict[str, int] = Field(default={}, description="bytes of each of the files; empty in old cards")

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
