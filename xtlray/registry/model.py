"""A published model, loaded and checked: formulas in, values in physical units out.

Shape suffixes: B rows, F features, K members.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xtlray.chem.formula import Compositions, parse
from xtlray.chem.fractions import ELEMNET_ELEMENTS, FractionEncoder
from xtlray.data.inputs import InputEncoder
from xtlray.errors import RequestError, StoreError
from xtlray.nn.limits import MOST_MODEL_BYTES
from xtlray.nn.members import Head, LiveMember, NetMember
from xtlray.nn.packing import unpack_members
from xtlray.nn.quick import quick_members
from xtlray.records import ModelCard
from xtlray.registry.answers import Answerer, Answers
from xtlray.registry.checks import check_card, check_outputs
from xtlray.registry.golden import warn_of_changes
from xtlray.registry.properties import column_of
from xtlray.registry.versions import ModelRef

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("xtlray.registry")
_AT_ONCE = 8  # files


@dataclass(frozen=True)
class Prediction:
    """What a model answers for one formula.

    Attributes:
        formula: as it was given.
        value: in `unit`; None where there is no answer, `warning` then says why.
        unit: of the value and the spread; None where the unit is not known.
        spread: standard deviation over the model's members, 0 for a single one.
        lower: where the interval begins that holds nine values in ten of rows like those it was judged on; None where
            the model's card has no interval.
        upper: where it ends.
        warning: what to know about this answer, None for nothing.
    """

    formula: str
    value: float | None
    unit: str | None
    spread: float | None
    lower: float | None
    upper: float | None
    warning: str | None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Model:
    """A published model. Get one with `xtlray.load("jarvis/bulkmoduluskv@best")`."""

    ref: ModelRef
    card: ModelCard
    members: Sequence[LiveMember]
    encoder: InputEncoder

    @property
    def properties(self) -> list[str]:
        """The names of the properties that it answers for."""
        return [answer.name for answer in self.card.answers()]

    def predict(self, formulas: str | Iterable[str], property: str | None = None) -> pd.DataFrame:
        """Values for formulas.

        Args:
            formulas: one or several, such as `["SiO2", "Ca(OH)2"]`.
            property: which of its properties, such as `oqmd/band_gap` or `band_gap`; by default its first.

        Returns:
            One row per formula in the order given: `formula, value, unit, spread, lower, upper, warning`. Where a
            formula cannot be answered the numbers are NaN and `warning` says why.

        Raises:
            RequestError: the model does not answer for that property, or the name could mean several.
        """
        import pandas as pd

        given = [formulas] if isinstance(formulas, str) else list(formulas)
        found = self.answers(*parse(given), property)
        columns = {
            "formula": pd.Series([str(formula) for formula in given], dtype=object),
            "value": found.value_B,
            "unit": pd.Series([found.unit] * len(given), dtype=object),
            "spread": found.spread_B,
            "lower": found.lower_B,
            "upper": found.upper_B,
            "warning": pd.Series([row[-1] for row in found.rows()], dtype=object),
        }
        return pd.DataFrame(columns)

    def predictions(self, formulas: Sequence[Any], property: str | None = None) -> list[Prediction]:
        """The same as a list; anything that is not a text is a formula that cannot be answered."""
        found = self.answers(*parse(formulas), property)
        return [
            Prediction(str(formula), value, found.unit, spread, lower, upper, warning)
            for formula, (value, spread, lower, upper, warning) in zip(formulas, found.rows(), strict=True)
        ]

    def answers(self, compositions: Compositions, reasons: Mapping[int, str], property: str | None = None) -> Answers:
        """The same as columns, without an object per row; `compositions` and `reasons` are what `parse` returns."""
        column = self._first if property is None else self._column(property)
        return Answerer(self._ready, self.encoder, self.card, column).answer(compositions, reasons)

    @cached_property
    def _ready(self) -> list[LiveMember]:
        return quick_members(self.members)

    def __getstate__(self) -> dict[str, Any]:
        # Without what was made ready here: it cannot travel, and is made again where it is wanted.
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def _first(self) -> int:
        """The first property, for who names none; said once where there are others."""
        first, *others = self.properties
        if others:
            log.warning("%s answers for %s; name another property for %s", self.ref, first, ", ".join(others))
        return 0

    def _column(self, wanted: str) -> int:
        """The place of a property among the outputs. Raises `RequestError`."""
        return column_of(str(self.ref), self.properties, wanted)

    @property
    def net(self) -> NetMember:
        """The net that transfer starts from: the first member that is one. Raises `StoreError` if there is none."""
        for member in self.members:
            if isinstance(member, NetMember):
                return replace(member, heads=tuple(Head(answer.name, answer.unit) for answer in self.card.answers()))
        raise StoreError(
            "This model has no net to carry over",
            got=f"{self.ref}, made by {self.card.method}",
            allowed="a model whose members are nets",
        )


def source_net(model: Model) -> NetMember:
    """The net of a model that transfer starts from.

    Raises:
        RequestError: it reads other elements than the inputs that transfer makes.
        StoreError: the model has no net.
    """
    if tuple(model.card.elements_encoded) != ELEMNET_ELEMENTS:
        raise RequestError(
            "The source model reads other elements than transfer's inputs hold",
            got=f"{model.ref}: {len(model.card.elements_encoded)} elements",
            allowed=f"the {len(ELEMNET_ELEMENTS)} of ElemNet, in their order",
        )
    return model.net


def read_files(ref: ModelRef, card: ModelCard) -> dict[str, bytes]:
    """The files of a model, each checked against size and SHA-256 in its card.

    Of a file no more is read than its card, or the limit for a whole model, allows.

    Raises:
        StoreError: the card names files that no model can have; a file is missing or is not the one of the card.
    """
    check_card(card, str(ref))
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # an object store answers slowly
        found = pool.map(lambda name: _read_file(ref, card, name), card.files)
        return dict(zip(card.files, found, strict=True))


def _read_file(ref: ModelRef, card: ModelCard, name: str) -> bytes:
    key, size = f"{ref.folder}/{name}", card.sizes.get(name)
    there = ref.store.size(key)
    if there > MOST_MODEL_BYTES or (size is not None and there != size):
        raise _altered(key, f"{there:,} bytes", f"{size or MOST_MODEL_BYTES:,}")
    data = ref.store.get(key)
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.files[name]:
        raise _altered(key, f"SHA-256 {digest[:12]}…", f"{card.files[name][:12]}…")
    return data


def _altered(key: str, found: str, expected: str) -> StoreError:
    return StoreError(
        "A file of a model is not the one that was published",
        got=f"{key}: {found}",
        allowed=expected,
        fix="restore the file, or use another version",
    )


def load_model(ref: ModelRef) -> Model:
    """Load a model. The first time in a process, under other library versions than those that it was published with,
    its golden answers are asked for again, and a warning says where they have changed (`golden.py`).

    Raises:
        StoreError: a file is missing, altered or does not fit the card, or the card is not one of a model.
    """
    model = open_model(ref)
    warn_of_changes(model)
    return model


def open_model(ref: ModelRef, card: ModelCard | None = None) -> Model:
    """`load_model` without a look at its golden answers; `card` is the model's, where it was read already."""
    card = card or ref.card()
    files = read_files(ref, card)
    attributes = any(member.attributes for member in card.members)
    encoder = InputEncoder(FractionEncoder(tuple(card.elements_encoded)), attributes)
    members = unpack_members(card.members, files, len(card.elements_encoded), str(ref))
    check_outputs(card, members, str(ref))
    return Model(ref, card, members, encoder)
