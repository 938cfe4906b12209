"""What a transfer job says, one field a dial."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from xtlray.settings import Settings, resource

Effort = Literal["quick", "standard", "full"]
METHOD_NAMES = ("base", "sc-dl-ef", "tl-finetune", "tl-ml-featextr")


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
        METHOD_NAMES, min_length=1, description="how to model them: " + ", ".join(METHOD_NAMES)
    )
    net: str | dict[str, Any] = Field("elemnet", description="net of the methods that start from scratch")
    seeds: PositiveInt = Field(3, description="how many seeds of the chosen configuration are averaged")
    effort: Effort = Field("quick", description="how many configurations are tried and how long each trains")
    cpus_per_trial: PositiveFloat = Field(
        1,
        description="cores of a trial; as many trials run at once as there are cores for",
        json_schema_extra=resource(),
    )
    gpus_per_trial: float = Field(
        0, ge=0, description="share of a GPU of a trial: 0.25 puts four on one", json_schema_extra=resource()
    )
