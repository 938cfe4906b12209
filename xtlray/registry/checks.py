"""What a card says, held to what a model can be, before anything that it names is fetched: names, sizes, counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xtlray.chem.fractions import FractionEncoder
from xtlray.errors import RequestError, StoreError
from xtlray.names import check_file_name
from xtlray.nn.interval import Interval
from xtlray.nn.limits import MOST_FILES, MOST_GOLDEN, MOST_MEMBERS, MOST_MODEL_BYTES, MOST_PROPERTIES
from xtlray.records import Golden, ModelCard
from xtlray.strict import in_short

if TYPE_CHECKING:
    from xtlray.nn.members import LiveMember

_SHA256 = re.compile("[0-9a-f]{64}")


def check_card(card: ModelCard, where: str) -> None:
    """Whether there can be such a model.

    Args:
        card: as it was read.
        where: the model is, for the message.

    Raises:
        StoreError: a file's name leaves its folder, or is none; sizes or counts pass a limit, or contradict each
            other; the input, the mean over the members or the interval cannot be formed.
    """
    _check_files(card, where)
    if not 0 < len(card.members) <= MOST_MEMBERS:
        raise StoreError(
            "A model has no members, or too many", got=f"{where}: {len(card.members)}", allowed=f"1 to {MOST_MEMBERS}"
        )
    names = [answer.name for answer in card.answers()]
    if len(names) > MOST_PROPERTIES or len(set(names)) < len(names):
        raise StoreError(
            "A model answers for too many properties, or twice for one",
            got=f"{where}: {len(names)}, of {len(set(names))} names",
            allowed=f"at most {MOST_PROPERTIES}",
        )
    try:
        FractionEncoder(tuple(card.elements_encoded))
        if not card.elements_encoded:
            raise ValueError("no elements")
    except (RequestError, ValueError) as error:
        raise StoreError("A model reads no elements that there are", got=in_short(f"{where}: {error}")) from error
    _check_mean(card, where)
    if card.golden is not None:
        _check_golden(card.golden, len(names), where)


def check_outputs(card: ModelCard, members: Sequence[LiveMember], where: str) -> None:
    """Whether each member answers for the properties that the card names. Raises `StoreError`."""
    for member in members:
        if card.properties and member.outputs != len(card.properties):
            raise StoreError(
                "A member of a model answers for other properties than its card names",
                got=f"{where}: {member.outputs} outputs and {len(card.properties)} properties",
            )


def _check_files(card: ModelCard, where: str) -> None:
    for name, expected in card.files.items():
        try:
            check_file_name(name)
        except RequestError as error:
            raise StoreError("A card names a file that no model can have", got=f"{where}: {error.got}") from error
        if not _SHA256.fullmatch(expected):
            raise StoreError("A card has no SHA-256 of a file", got=f"{where}: {name}: {in_short(expected)}")
    if len(card.files) > MOST_FILES or len({name.lower() for name in card.files}) < len(card.files):
        raise StoreError(
            "A card names too many files, or two by one name in upper and lower case",
            got=f"{where}: {len(card.files)}",
            allowed=f"at most {MOST_FILES}",
        )
    if card.sizes and (set(card.sizes) != set(card.files) or min(card.sizes.values()) < 1):
        raise StoreError(
            "A card's sizes are not those of its files",
            got=f"{where}: {len(card.sizes)} sizes of {len(card.files)} files",
            allowed="for each file its bytes",
        )
    if sum(card.sizes.values()) > MOST_MODEL_BYTES:
        raise StoreError(
            "A model's files are larger than they may be",
            got=f"{where}: {sum(card.sizes.values()) / 1e9:.1f} GB",
            allowed=f"{MOST_MODEL_BYTES / 1e9:.1f} GB",
        )


def _check_mean(card: ModelCard, where: str) -> None:
    """Whether a mean over the members, and its interval, can be formed."""
    weights = [member.weight for member in card.members]
    given = [weight for weight in weights if weight is not None]
    if given and (len(given) < len(weights) or min(given) <= 0):
        raise StoreError("The weights of a model's members make no mean", got=f"{where}: {weights[:10]}")
    if card.interval is not None:
        try:
            Interval.from_json(card.interval)
        except (KeyError, ValueError) as error:
            raise StoreError("A model's card has no interval of ours", got=in_short(f"{where}: {error}")) from error


def _check_golden(golden: Golden, properties: int, where: str) -> None:
    """A table of values, and two of bounds or none: formulas × properties."""
    tables = [golden.values, *(table for table in (golden.lower, golden.upper) if table is not None)]
    shaped = all([len(row) for row in table] == [properties] * len(golden.formulas) for table in tables)
    usable = len(golden.tolerance) == properties and min(golden.tolerance) > 0 and len(golden.formulas) <= MOST_GOLDEN
    if not shaped or len(tables) == 2 or not usable:
        raise StoreError(
            "A card's golden answers make no table",
            got=f"{where}: {len(golden.formulas)} formulas, {len(golden.values)} rows",
            allowed=f"for each formula a number, or none, for each of {properties} properties",
        )
