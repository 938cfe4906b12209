"""A published model, loaded and checked: formulas in, values in physical units out.

Shape suffixes: B rows, F features, K members.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xtlray.chem.formula import parse
from xtlray.chem.fractions import ELEMNET_ELEMENTS, FractionEncoder
from xtlray.data.inputs import InputEncoder
from xtlray.errors import RequestError, StoreError, unknown
from xtlray.nn.interval import Interval, spread, spread_between
from xtlray.nn.members import Head, LiveMember, NetMember, answers_of
from xtlray.nn.packing import unpack_members
from xtlray.records import ModelCard, PropertyCard
from xtlray.registry.versions import ModelRef

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("xtlray.registry")


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

        rows = self.predictions([formulas] if isinstance(formulas, str) else list(formulas), property)
        frame = pd.DataFrame([row.as_json() for row in rows], columns=[each.name for each in fields(Prediction)])
        return frame.astype(dict.fromkeys(("value", "spread", "lower", "upper"), "float64"))

    def predictions(self, formulas: Sequence[Any], property: str | None = None) -> list[Prediction]:
        """The same as a list; anything that is not a text is a formula that cannot be answered."""
        column = self._first if property is None else self._column(property)
        answer = self.card.answers()[column]
        compositions, reasons = parse(formulas)
        missing = self.encoder.fractions.missing(compositions)
        reasons = {**{i: self._cannot_hold(elements) for i, elements in missing.items()}, **reasons}
        rows = [
            Prediction(str(text), None, answer.unit, None, None, None, reasons.get(i))
            for i, text in enumerate(formulas)
        ]
        good = np.array([i for i in range(len(formulas)) if i not in reasons], dtype=np.int64)
        if len(good):
            each_KB = answers_of(self.members, self.encoder.encode(compositions.take(good)), column)
            weight_K = self._weights
            mean_B, spread_B = weight_K @ each_KB, spread(each_KB, weight_K)
            half_B = self._half_widths(each_KB, weight_K)
            for k, i in enumerate(good):
                value, warning = float(mean_B[k]), _unseen(answer, compositions.elements(int(i)))
                rows[i] = replace(rows[i], value=value, spread=float(spread_B[k]), warning=warning)
                if half_B is not None:
                    rows[i] = replace(rows[i], lower=value - float(half_B[k]), upper=value + float(half_B[k]))
        return rows

    @property
    def _weights(self) -> NDArray[np.float64]:
        """Of the members, adding up to one."""
        weights = [member.weight for member in self.card.members]
        weight_K = np.array([1.0 if weight is None else weight for weight in weights])
        return weight_K / weight_K.sum()

    def _half_widths(self, each_KB: NDArray[np.float64], weight_K: NDArray[np.float64]) -> NDArray[np.float64] | None:
        if self.card.interval is None:
            return None
        groups = [member.group or 0 for member in self.card.members]
        return Interval.from_json(self.card.interval).half_width(spread_between(each_KB, weight_K, groups))

    @cached_property
    def _first(self) -> int:
        """The first property, for who names none; said once where there are others."""
        first, *others = self.properties
        if others:
            log.warning("%s answers for %s; name another property for %s", self.ref, first, ", ".join(others))
        return 0

    def _column(self, wanted: str) -> int:
        """The place of a property among the outputs. Raises `RequestError`."""
        names = self.properties
        if wanted in names:
            return names.index(wanted)
        found = [name for name in names if name.rsplit("/", 1)[-1] == wanted]
        if len(found) > 1:
            raise RequestError("The property could mean several", got=repr(wanted), allowed=", ".join(found))
        if not found:
            raise unknown(f"property of {self.ref}", wanted, names)
        return names.index(found[0])

    def _cannot_hold(self, elements: Sequence[str]) -> str:
        return f"the model's input cannot hold {', '.join(elements)}"

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


def _unseen(answer: PropertyCard, elements: Iterable[str]) -> str | None:
    unseen = [symbol for symbol in elements if not answer.elements_seen.get(symbol)]
    return f"no training row held {', '.join(unseen)}" if unseen else None


def read_files(ref: ModelRef, card: ModelCard) -> dict[str, bytes]:
    """The files of a model, each checked against the SHA-256 in its card. Raises `StoreError` naming the first bad."""
    files = {}
    for name, expected in card.files.items():
        data = ref.store.get(f"{ref.folder}/{name}")
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise StoreError(
                "A file of a model is not the one that was published",
                got=f"{ref.folder}/{name}: SHA-256 {found[:12]}…",
                allowed=f"{expected[:12]}…",
                fix="restore the file, or use another version",
            )
        files[name] = data
    return files


def load_model(ref: ModelRef) -> Model:
    """Load a model. Raises `StoreError` where a file is missing, altered or does not fit its card."""
    card = ref.card()
    attributes = any(member.attributes for member in card.members)
    encoder = InputEncoder(FractionEncoder(tuple(card.elements_encoded)), attributes)
    members = unpack_members(card.members, read_files(ref, card), len(card.elements_encoded), str(ref))
    for member in members:
        if card.properties and member.outputs != len(card.properties):
            raise StoreError(
                "A member of a model answers for other properties than its card names",
                got=f"{ref}: {member.outputs} outputs and {len(card.properties)} properties",
            )
    _check_mean(ref, card)
    return Model(ref, card, members, encoder)


def _check_mean(ref: ModelRef, card: ModelCard) -> None:
    """Whether a mean over the members, and its interval, can be formed. Raises `StoreError`."""
    weights = [member.weight for member in card.members]
    given = [weight for weight in weights if weight is not None]
    if given and (len(given) < len(weights) or min(given) <= 0):
        raise StoreError("The weights of a model's members make no mean", got=f"{ref}: {weights}")
    if card.interval is not None:
        try:
            Interval.from_json(card.interval)
        except (KeyError, ValueError) as error:
            raise StoreError("A model's card has no interval of ours", got=f"{ref}: {error}") from error
