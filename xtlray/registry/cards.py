"""Making a model's card: everything that a later reader could ask about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xtlray import provenance
from xtlray.chem.formula import SYMBOLS
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset
from xtlray.records import Member, ModelCard, SplitMetrics
from xtlray.runs import Run, now

LIMITS = (
    "Sees the composition alone: polymorphs get one answer. Its errors hold for compositions like those it was "
    "trained on; elements that the training rows never held are warned about."
)


@dataclass(frozen=True)
class Making:
    """How a model came to be, as far as its card tells."""

    name: str
    run: Run
    dataset: Dataset
    encoder: FractionEncoder
    members: Sequence[Member]
    method: str
    metrics: Mapping[str, SplitMetrics]
    history: Sequence[dict[str, Any]] = ()
    source: ModelCard | None = None


def elements_seen(dataset: Dataset, encoder: FractionEncoder) -> dict[str, int]:
    """How many training rows hold each element, of the rows that the encoder can hold."""
    compositions = dataset.rows("train").compositions
    kept = compositions.take(encoder.encodable(compositions))
    counts = np.bincount(kept.z, minlength=len(SYMBOLS) + 1)
    return {symbol: int(n) for symbol, n in zip(SYMBOLS, counts[1:], strict=False) if n}


def card_maker(making: Making) -> Callable[[int, dict[str, str]], ModelCard]:
    """A function from version and file hashes to the card."""
    data = making.dataset.card
    source = making.source
    own = {"method": making.method, "dataset": data.name, "data_hash": data.data_hash, "run": making.run.id}
    before = [{"model": f"{source.name}@{source.version}"}, *source.lineage] if source else []

    def make(version: int, files: dict[str, str]) -> ModelCard:
        return ModelCard(
            name=making.name,
            version=version,
            property=data.name,
            label=data.label,
            unit=data.unit,
            elements_encoded=list(making.encoder.elements),
            elements_seen=elements_seen(making.dataset, making.encoder),
            members=list(making.members),
            method=making.method,
            source_model=f"{source.name}@{source.version}" if source else None,
            lineage=[own, *before],
            dataset={
                "name": data.name,
                "data_hash": data.data_hash,
                "split_id": data.split_id,
                "split_protocol": data.split_protocol,
                "splits": dict(data.splits),
            },
            metrics=dict(making.metrics),
            history=list(making.history),
            run=making.run.id,
            job=making.run.identity,
            commit=provenance.commit(),
            versions=provenance.versions(),
            hardware=provenance.hardware(),
            created=now(),
            licence=data.licence,
            citation=data.citation,
            limits=LIMITS,
            files=files,
        )

    return make
