"""A published model, loaded and checked: formulas in, values in physical units out.

Shape suffixes: B rows, F features, K members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xtlray.chem.formula import parse
from xtlray.chem.fractions import FractionEncoder
from xtlray.errors import StoreError
from xtlray.nn.members import LiveMember, NetMember, ensemble, unpack_members
from xtlray.records import ModelCard
from xtlray.registry.versions import ModelRef

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Prediction:
    """What a model answers for one formula.

    Attributes:
        formula: as it was given.
        value: in `unit`; None where there is no answer, `warning` then says why.
        unit: of the value and the spread; None where the unit is not known.
        spread: standard deviation over the model's members, 0 for a single one.
        warning: what to know about this answer, None for nothing.
    """

    formula: str
    value: float | None
    unit: str | None
    spread: float | None
    warning: str | None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Model:
    """A published model. Get one with `xtlray.load("jarvis/bulkmoduluskv@best")`."""

    ref: ModelRef
    card: ModelCard
    members: Sequence[LiveMember]
    encoder: FractionEncoder

    def predict(self, formulas: str | Iterable[str]) -> pd.DataFrame:
        """Values for formulas.

        Args:
            formulas: one or several, such as `["SiO2", "Ca(OH)2"]`.

        Returns:
            One row per formula in the order given: `formula, value, unit, spread, warning`. Where a formula cannot
            be answered `value` and `spread` are NaN and `warning` says why.
        """
        import pandas as pd

        rows = self.predictions([formulas] if isinstance(formulas, str) else list(formulas))
        frame = pd.DataFrame([row.as_json() for row in rows], columns=["formula", "value", "unit", "spread", "warning"])
        return frame.astype({"value": "float64", "spread": "float64"})

    def predictions(self, formulas: Sequence[Any]) -> list[Prediction]:
        """The same as a list; anything that is not a text is a formula that cannot be answered."""
        compositions, reasons = parse(formulas)
        missing = self.encoder.missing(compositions)
        reasons = {**{i: self._cannot_hold(elements) for i, elements in missing.items()}, **reasons}
        good = np.array([i for i in range(len(formulas)) if i not in reasons], dtype=np.int64)
        answers: dict[int, tuple[float, float]] = {}
        if len(good):
            mean_B, spread_B, _ = ensemble(self.members, self.encoder.encode(compositions.take(good)))
            answers = {
                int(i): (float(mean), float(spread)) for i, mean, spread in zip(good, mean_B, spread_B, strict=True)
            }
        return [self._row(i, text, answers, reasons, compositions) for i, text in enumerate(formulas)]

    def _row(
        self, i: int, text: Any, answers: Mapping[int, tuple[float, float]], reasons: Mapping[int, str], parsed: Any
    ) -> Prediction:
        if i not in answers:
            return Prediction(str(text), None, self.card.unit, None, reasons[i])
        value, spread = answers[i]
        return Prediction(str(text), value, self.card.unit, spread, self._unseen(parsed.elements(i)))

    def _cannot_hold(self, elements: Sequence[str]) -> str:
        return f"the model's input cannot hold {', '.join(elements)}"

    def _unseen(self, elements: Iterable[str]) -> str | None:
        unseen = [symbol for symbol in elements if not self.card.elements_seen.get(symbol)]
        return f"no training row held {', '.join(unseen)}" if unseen else None

    @property
    def net(self) -> NetMember:
        """The net that transfer starts from: the first member that is one. Raises `StoreError` if there is none."""
        for member in self.members:
            if isinstance(member, NetMember):
                return member
        raise StoreError(
            "This model has no net to carry over",
            got=f"{self.ref}, made by {self.card.method}",
            allowed="a model whose members are nets",
        )


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
    encoder = FractionEncoder(tuple(card.elements_encoded))
    members = unpack_members(card.members, read_files(ref, card), len(encoder.elements), str(ref))
    return Model(ref, card, members, encoder)
