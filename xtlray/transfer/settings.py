"""What a transfer job says, one field a dial."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from xtlray.settings import Settings, resource

Effort = Literal["quick", "standard", "full"]
METHOD_NAMES = (
    "base",
    "sc-ml-ef",
    "sc-ml-pa",
    "sc-dl-ef",
    "sc-dl-pa",
    "tl-ml-featextr",
    "tl-dl-featextr",
    "tl-finetune",
    "tl-modfinetune",
    "tl-freeze",
    "tl-ml-mixed",
    "tl-dl-mixed",
    "ensemble",  # has no trials of its own: an average over those of the others
)
ENSEMBLE = "ensemble"
DEFAULT_METHODS = ("base", "sc-ml-pa", "tl-ml-mixed", "tl-finetune", "tl-modfinetune", ENSEMBLE)
# Most training rows on which an effort tries a regressor, the likeliest first. SVR's time grows with the square of the
# rows; a forest's file, with the rows.
REGRESSORS: dict[Effort, dict[str, int | Literal["all"]]] = {
    "quick": {"gradient_boosting": "all", "ridge": 1_000},
    "standard": {"gradient_boosting": "all", "extra_trees": 5_000, "svr": 2_500, "ridge": 5_000},
    "full": {
        "linear": "all",
        "ridge": "all",
        "lasso": "all",
        "elastic_net": "all",
        "sgd": "all",
        "k_neighbours": "all",
        "svr": 10_000,
        "decision_tree": "all",
        "extra_trees": "all",
        "random_forest": "all",
        "bagging": "all",
        "ada_boost": 10_000,
        "gradient_boosting": "all",
    },
}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class TransferSettings(Settings):
    """Settings of a job of kind `transfer`."""

    source: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), description="models to carry over: name, name@3 or name@alias; in a pipeline by default its own"
    )
    targets: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        min_length=1, description="datasets to model, names or shell patterns such as jarvis/etc*"
    )
    methods: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        DEFAULT_METHODS, min_length=1, description="how to model them: " + ", ".join(METHOD_NAMES)
    )
    net: str | dict[str, Any] = Field("elemnet", description="net of the methods that start from scratch")
    seeds: PositiveInt | None = Field(
        None,
        description="how many seeds of the chosen configuration are averaged, each with another fold held out; by "
        "default 1, 2 or 5 by effort, and more where rows are few",
    )
    effort: Effort = Field("quick", description="how many configurations are tried and how long each trains")
    regressors: dict[Effort, dict[str, PositiveInt | Literal["all"]]] = Field(
        REGRESSORS,
        description="which scikit-learn regressors an effort tries, and on how many training rows at most",
    )
    cpus_per_trial: PositiveFloat = Field(
        1,
        description="cores of a trial; as many trials run at once as there are cores for",
        json_schema_extra=resource(),
    )
    gpus_per_trial: float = Field(
        0, ge=0, description="share of a GPU of a trial: 0.25 puts four on one", json_schema_extra=resource()
    )

    @property
    def trial_methods(self) -> tuple[str, ...]:
        """The methods that have trials; an ensemble averages what theirs left."""
        return tuple(name for name in self.methods if name != ENSEMBLE)

    def regressors_for(self, rows: int) -> tuple[str, ...]:
        """The regressors to try on a target with this many training rows; one at least."""
        table = self.regressors.get(self.effort, {})
        fit = tuple(name for name, most in table.items() if most == "all" or rows <= most)
        return fit or ("ridge",)
