"""Making a model's card: everything that a later reader could ask about it.

Shape suffixes: B rows, P properties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtlray import provenance
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset
from xtlray.data.joined import Joined, join
from xtlray.records import DatasetCard, Member, ModelCard, PropertyCard, SplitMetrics
from xtlray.runs import Run, now

LIMITS = (
    "Sees the composition alone: polymorphs get one answer. Its errors hold for compositions like those it was "
    "trained on; elements that the training rows never held are warned about."
)


@dataclass(frozen=True)
class Making:
    """How a model came to be, as far as its card tells.

    Attributes:
        name: of the model.
        run: that made it.
        scored: the dataset of each property and the errors on its rows by split, in the order of the nets' outputs.
        encoder: makes inputs of compositions.
        members: their records.
        method: that made it.
        history: of its training.
        source: the card of the model that it was carried over from.
    """

    name: str
    run: Run
    scored: Sequence[tuple[Dataset, Mapping[str, SplitMetrics]]]
    encoder: FractionEncoder
    members: Sequence[Member]
    method: str
    history: Sequence[dict[str, Any]] = ()
    source: ModelCard | None = None


def card_maker(making: Making) -> Callable[[int, dict[str, str]], ModelCard]:
    """A function from version and file hashes to the card."""
    cards = [dataset.card for dataset, _ in making.scored]
    source = making.source
    before = [{"model": f"{source.name}@{source.version}"}, *source.lineage] if source else []
    own = {"method": making.method, "run": making.run.id}
    joined = join([dataset for dataset, _ in making.scored], "train", making.encoder)
    properties = _properties(making, joined)
    first = properties[0]

    def make(version: int, files: dict[str, str]) -> ModelCard:
        return ModelCard(
            name=making.name,
            version=version,
            property=first.name,
            label=first.label,
            unit=first.unit,
            elements_encoded=list(making.encoder.elements),
            elements_seen=elements_seen(joined, making.encoder),
            members=list(making.members),
            method=making.method,
            source_model=f"{source.name}@{source.version}" if source else None,
            copied_from=None,
            lineage=[*({**own, "dataset": card.name, "data_hash": card.data_hash} for card in cards), *before],
            dataset=first.dataset,
            metrics=first.metrics,
            properties=properties,
            history=list(making.history),
            run=making.run.id,
            job=making.run.identity,
            commit=provenance.commit(),
            versions=provenance.versions(),
            hardware=provenance.hardware(),
            created=now(),
            licence=_of_all({card.name: card.licence for card in cards}),
            citation=_of_all({card.name: card.citation for card in cards}),
            limits=LIMITS,
            files=files,
        )

    return make


def elements_seen(
    joined: Joined, encoder: FractionEncoder, rows_B: NDArray[np.bool_] | slice = slice(None)
) -> dict[str, int]:
    """How many of these rows (default: of all) hold each element."""
    held = joined.z_BK[rows_B][joined.f_BK[rows_B] > 0]
    counts = np.bincount(held, minlength=len(encoder.elements))
    return {symbol: int(n) for symbol, n in zip(encoder.elements, counts, strict=True) if n}


def _properties(making: Making, joined: Joined) -> list[PropertyCard]:
    labelled_BP = ~np.isnan(joined.y_BP)
    return [
        PropertyCard(
            name=dataset.card.name,
            label=dataset.card.label,
            unit=dataset.card.unit,
            dataset=_dataset(dataset.card),
            metrics=dict(metrics),
            rows_train=int(labelled_BP[:, p].sum()),
            elements_seen=elements_seen(joined, making.encoder, labelled_BP[:, p]),
        )
        for p, (dataset, metrics) in enumerate(making.scored)
    ]


def _dataset(card: DatasetCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "data_hash": card.data_hash,
        "split_id": card.split_id,
        "split_protocol": card.split_protocol,
        "splits": dict(card.splits),
    }


def _of_all(said: Mapping[str, str | None]) -> str | None:
    """What all datasets say, once; where they say different things, each by its name."""
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {text or 'not known'}" for name, text in said.items())
