"""What a pretraining job says, one field a dial, units included."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from xtlray.names import check_model_name
from xtlray.settings import Settings, resource


def _workers(value: Any) -> str:
    text = str(value)
    found = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", text)
    if not found or (found[2] and int(found[2]) < int(found[1])):
        raise ValueError("a number of workers such as 2, or a range such as 1-4 (elastic)")
    return text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class PretrainSettings(Settings):
    """Settings of a job of kind `pretrain`."""

    dataset: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        min_length=1, description="name of the dataset to train on, such as oqmd/formation_energy; several: a head each"
    )
    net: str | dict[str, Any] = Field("elemnet", description="name of a net, or a mapping with name and its settings")
    epochs: PositiveInt = Field(description="passes over the training rows")
    batch: PositiveInt = Field(512, description="rows of a global batch, over all workers")
    lr: PositiveFloat = Field(1e-3, description="peak learning rate of the one-cycle schedule (AdamW)")
    weight_decay: float = Field(1e-2, ge=0, description="decoupled weight decay of AdamW")
    seed: NonNegativeInt = Field(0, description="of the initial weights and of the order of rows")
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="auto takes bfloat16 where the processor multiplies it in hardware"
    )
    model: Annotated[str, AfterValidator(check_model_name)] | None = Field(
        None, description="name under which the model is published; by default the job's"
    )
    exclude_compositions_of: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (),
        description="datasets, names or shell patterns such as jarvis/*, whose test compositions are left out of the "
        "training and validation rows",
    )
    exclude_target_compositions: bool = Field(
        False, description="in a pipeline: exclude_compositions_of the targets of its transfer"
    )
    loader: Literal["auto", "resident", "streaming"] = Field(
        "auto",
        description="resident: all rows in memory; streaming: Ray Data from the shards; auto: by size",
        json_schema_extra=resource(),
    )
    workers: Annotated[str, BeforeValidator(_workers)] = Field(
        "1", description="Ray Train workers: a number, or a range like 1-4 (elastic)", json_schema_extra=resource()
    )
    gpus: Literal["auto"] | NonNegativeInt = Field(
        "auto", description="GPUs per worker; auto takes one each where there are enough", json_schema_extra=resource()
    )
    cpus_per_worker: PositiveInt | None = Field(
        None,
        description="cores per worker; by default the cores of the cluster over the workers",
        json_schema_extra=resource(),
    )

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the exclusions where there are none: such a job keeps the run id that it had before there were."""
        return {key: value for key, value in handler(self).items() if value or not key.startswith("exclude_")}

    @property
    def worker_range(self) -> tuple[int, int]:
        """Fewest and most workers."""
        first, _, last = self.workers.partition("-")
        return int(first), int(last or first)
