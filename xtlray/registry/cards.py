"""Making a model's card: everything that a later reader could ask about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from xtlray import provenance
from xtlray.chem.formula import composition_keys
from xtlray.chem.fractions import FractionEncoder
from xtlray.data import shards
from xtlray.data.dataset import Dataset
from xtlray.data.joined import held_out_keys
from xtlray.data.overlap import keys_tested_on
from xtlray.nn.limits import MOST_CARD_BYTES
from xtlray.records import INPUTS, DatasetCard, Member, ModelCard, PropertyCard, Split, SplitMetrics
from xtlray.registry.parts import descriptors_of, with_answers
from xtlray.runs import Run, now
from xtlray.store import canonical_json
from xtlray.strict import without_control

log = logging.getLogger("xtlray.registry")
FORMULAS = 5
_LONGEST = 100  # characters of a formula
WITHOUT = "without_test_compositions_of"  # in a step of a lineage: name → data hash of datasets
USE = (
    "To estimate {what} of a compound from its composition alone, such as to rank or to screen candidates before "
    "calculations or experiments. Not for decisions that rest on one answer."
)
LIMITS = (
    "Sees the composition alone: polymorphs get one answer. Its errors hold for compositions like those it was "
    "trained on; elements that the training rows never held are warned about."
)

FOLDED = (
    "Its members were trained on training and validation rows, each without the fold that it was judged on: the "
    "validation error is out of fold."
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
        sources: the cards of the models that it was carried over from.
        interval: how wide its answers' intervals are.
        folded: whether it was trained on training and validation rows, each member without one fold of them.
        exclude: datasets whose test compositions were left out of the training and validation rows.
        files: of the model; without them its card has no sizes and no golden answers.
    """

    name: str
    run: Run
    scored: Sequence[tuple[Dataset, Mapping[str, SplitMetrics]]]
    encoder: FractionEncoder
    members: Sequence[Member]
    method: str
    history: Sequence[dict[str, Any]] = ()
    sources: Sequence[ModelCard] = ()
    interval: dict[str, float] | None = None
    folded: bool = False
    exclude: Sequence[Dataset] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def card_maker(making: Making) -> Callable[[int, dict[str, str]], ModelCard]:
    """A function from version and file hashes to the card."""
    properties = _properties(making)  # reads the datasets, once

    def make(version: int, files: dict[str, str]) -> ModelCard:
        card = _card(making, properties, version, files)
        # A label or a citation may come from anywhere; a card with a control character would not be read again.
        card = ModelCard.model_validate(without_control(card.as_json()))
        card = with_answers(card, making.files, *_examples(making)) if making.files or _alone(card) else card
        return _short_enough(card)

    return make


def _card(making: Making, properties: list[PropertyCard], version: int, files: dict[str, str]) -> ModelCard:
    cards = [dataset.card for dataset, _ in making.scored]
    first = properties[0]
    return ModelCard(
        name=making.name,
        version=version,
        property=first.name,
        label=first.label,
        unit=first.unit,
        input=INPUTS["fractions"] + f"+{INPUTS['attributes']}" * any(member.attributes for member in making.members),
        elements_encoded=list(making.encoder.elements),
        elements_seen=_most(properties, making.encoder),
        members=list(making.members),
        descriptors=descriptors_of(making.members),
        method=making.method,
        source_model="+".join(f"{source.name}@{source.version}" for source in making.sources) or None,
        copied_from=None,
        lineage=_lineage(making),
        dataset=first.dataset,
        metrics=first.metrics,
        properties=properties,
        history=list(making.history),
        run=making.run.id,
        job=making.run.identity,
        commit=provenance.commit(),
        versions=provenance.versions(),
        hardware=provenance.hardware(),
        environment=provenance.machine(),
        created=now(),
        licence=_of_all({card.name: card.licence for card in cards}),
        citation=_of_all({card.name: card.citation for card in cards}),
        intended_use=USE.format(what=" and ".join(_in_words(each) for each in properties)),
        limits=" ".join([LIMITS, *([FOLDED] if making.folded else []), *_warnings(cards)]),
        interval=making.interval,
        files=files,
        sizes={name: len(data) for name, data in making.files.items()},
    )


def _lineage(making: Making) -> list[dict[str, Any]]:
    """From the model back to the first dataset."""
    own = {"method": making.method, "run": making.run.id}
    without = {WITHOUT: {each.card.name: each.card.data_hash for each in making.exclude}} if making.exclude else {}
    cards = [dataset.card for dataset, _ in making.scored]
    steps = [{**own, "dataset": card.name, "data_hash": card.data_hash, **without} for card in cards]
    for source in making.sources:
        steps += [{"model": f"{source.name}@{source.version}"}, *source.lineage]
    return steps


def _short_enough(card: ModelCard) -> ModelCard:
    """Without its history, where that makes it longer than a card may be."""
    if len(canonical_json(card.as_json())) <= MOST_CARD_BYTES:
        return card
    log.warning("the training history of %s is too long for its card: it is in its run's records only", card.name)
    return card.model_copy(update={"history": []})


def _alone(card: ModelCard) -> bool:
    """Whether its members need no file."""
    return all(member.kind == "constant" for member in card.members)


def _in_words(answer: PropertyCard) -> str:
    return f"{answer.label} ({answer.unit})" if answer.unit else answer.label


def _examples(making: Making) -> tuple[list[str], list[float]]:
    """Formulas for golden answers, and the spread of each property's targets.

    The formulas are spread over the training rows of the first dataset; where the input can hold none of them, they
    are elements.
    """
    spreads = [dataset.card.target.get("std", 0.0) for dataset, _ in making.scored]
    for part, data, key in making.scored[0][0].parts("train"):
        _, compositions = shards.read(data, part, key)
        texts = shards.read_formulas(data, part, key)
        able = np.flatnonzero(making.encoder.encodable(compositions)).tolist()
        known = list(dict.fromkeys(texts[i] for i in able if len(texts[i]) <= _LONGEST))
        if known:
            places = np.linspace(0, len(known) - 1, min(FORMULAS, len(known))).round().astype(int)
            return [known[i] for i in places], spreads
    return list(making.encoder.elements[:FORMULAS]), spreads


def elements_seen(
    dataset: Dataset,
    encoder: FractionEncoder,
    held_out: Set[bytes] = frozenset(),
    splits: Sequence[Split] = ("train",),
) -> tuple[int, dict[str, int]]:
    """The training rows of a dataset, and how many of them hold each element.

    Shard by shard, for a dataset may be bigger than the memory. Rows that the encoder cannot hold, and compositions in
    `held_out`, are no training rows.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    rows, counts = 0, np.zeros(len(encoder.elements), np.int64)
    for part, data, key in chain.from_iterable(dataset.parts(split) for split in splits):
        _, found = shards.read(data, part, key)
        found = found.take(encoder.encodable(found))
        if held_out:
            found = found.take([i for i, name in enumerate(composition_keys(found)) if name not in held_out])
        rows += len(found)
        counts += np.bincount(encoder.columns(found), minlength=len(counts))
    return rows, {symbol: int(n) for symbol, n in zip(encoder.elements, counts, strict=True) if n}


def _properties(making: Making) -> list[PropertyCard]:
    held_out = held_out_keys([dataset for dataset, _ in making.scored]) | keys_tested_on(making.exclude)
    made = []
    for dataset, metrics in making.scored:
        rows, seen = elements_seen(dataset, making.encoder, held_out, ("train", "val") if making.folded else ("train",))
        card = dataset.card
        made.append(
            PropertyCard(
                name=card.name,
                label=card.label,
                unit=card.unit,
                dataset=_dataset(card),
                metrics=dict(metrics),
                rows_train=rows,
                elements_seen=seen,
            )
        )
    return made


def _most(properties: Sequence[PropertyCard], encoder: FractionEncoder) -> dict[str, int]:
    most = {symbol: max(each.elements_seen.get(symbol, 0) for each in properties) for symbol in encoder.elements}
    return {symbol: n for symbol, n in most.items() if n}


def _dataset(card: DatasetCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "data_hash": card.data_hash,
        "split_id": card.split_id,
        "split_protocol": card.split_protocol,
        "splits": dict(card.splits),
    }


def _warnings(cards: Sequence[DatasetCard]) -> list[str]:
    """What is known to be wrong with the data."""
    return [f"Of {card.name}: {card.warning}." for card in cards if card.warning]


def _of_all(said: Mapping[str, str | None]) -> str | None:
    """What all datasets say, once; where they say different things, each by its name."""
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {text or 'not known'}" for name, text in said.items())
