"""Golden answers: what a model said for a few formulas when it was published, to notice when it says something else.

The same weights may answer otherwise under other versions of the libraries. That they add floating-point numbers in
another order is no such change: it moves an answer by some millionths of the spread of the training targets (measured:
below 1e-6 of it). So an answer counts as changed where it is farther off than a ten-thousandth of that spread. Some
models are more sensitive, such as a linear fit on nearly equal columns. So at publication each answers once more, for
inputs that differ in the last bits of every number; ten times what moves then is tolerated, if it is more than a
ten-thousandth, up to a tenth of the spread. What came out is on the card, in the property's unit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xtlray import provenance
from xtlray.chem.formula import Compositions, parse
from xtlray.data.inputs import InputEncoder
from xtlray.nn.members import LiveMember
from xtlray.nn.quick import quick_members
from xtlray.records import Golden, ModelCard
from xtlray.registry.answers import Answerer, Answers

if TYPE_CHECKING:
    from xtlray.registry.model import Model

log = logging.getLogger("xtlray.registry")
Array = NDArray[np.float64]
Tables = dict[str, list[list[float | None]]]
_TOLERANCE = 1e-4  # of the spread of the training targets
_AT_MOST = 0.1  # of it
_ROUNDING = 1e-9  # of the answer itself
_LAST_BITS = np.float32(1 + 2**-22)
_SHOWN = 3
_looked_at: set[tuple[str, str]] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Change:
    """An answer that is another than at publication; `then` and `now` are None where there is no number."""

    formula: str
    property: str
    what: str
    then: float | None
    now: float | None
    unit: str | None

    def __str__(self) -> str:
        then, now = ("no number" if each is None else f"{each:.6g}" for each in (self.then, self.now))
        return f"{self.formula} ({self.property}{self.what}) was {then} and is {now} {self.unit or ''}".rstrip()


class _Nudged(InputEncoder):
    """Makes inputs that differ from the right ones in their last bits."""

    def encode(self, compositions: Compositions) -> np.ndarray:
        return super().encode(compositions) * _LAST_BITS


def golden_answers(
    card: ModelCard,
    members: Sequence[LiveMember],
    encoder: InputEncoder,
    formulas: Sequence[str],
    spreads: Sequence[float],
) -> Golden:
    """What a model answers for these formulas, as a table for its card.

    Args:
        card: of the model, as far as it is known.
        members: its members as readers get them: packed, and unpacked again.
        encoder: makes their input.
        formulas: that it can hold.
        spreads: standard deviation of the training targets, by property.
    """
    ready, parsed = quick_members(members), parse(formulas)
    both = (encoder, _Nudged(encoder.fractions, encoder.attributes))
    columns = range(len(card.answers()))
    tables, nudged = (_tables([Answerer(ready, each, card, p).answer(*parsed) for p in columns]) for each in both)
    tolerance = []
    for p, spread in enumerate(spreads):
        before, after = (_numbers(each, p) for each in (tables, nudged))
        size = np.nanmax(np.abs(before), initial=0.0)
        scale = spread if np.isfinite(spread) and spread > 0 else size or 1.0
        moved = np.nanmax(np.abs(before - after), initial=0.0)
        tolerance.append(float(min(max(_TOLERANCE * scale, 10 * moved), _AT_MOST * scale) + _ROUNDING * size))
    return Golden(
        formulas=list(formulas),
        values=tables["values"],
        lower=tables.get("lower"),
        upper=tables.get("upper"),
        tolerance=tolerance,
    )


def _numbers(tables: Tables, column: int) -> Array:
    """All numbers of a property, NaN where there is none."""
    return np.array([row[column] for table in tables.values() for row in table], dtype=np.float64)


def changes(model: Model) -> list[Change]:
    """Where a model answers otherwise than its card says that it did; empty for a card without golden answers."""
    golden = model.card.golden
    if golden is None:
        return []
    then = {"values": golden.values}
    then |= {} if golden.lower is None or golden.upper is None else {"lower": golden.lower, "upper": golden.upper}
    parsed = parse(golden.formulas)
    now = _tables([model.answers(*parsed, answer.name) for answer in model.card.answers()])
    found = []
    for name, table in then.items():
        for formula, before, after in zip(golden.formulas, table, now.get(name) or table, strict=True):
            for p, answer in enumerate(model.card.answers()):
                if not _equal(before[p], after[p], golden.tolerance[p]):
                    what = "" if name == "values" else f", {name} end of its interval"
                    found.append(Change(formula, answer.name, what, before[p], after[p], answer.unit))
    return found


def warn_of_changes(model: Model) -> None:
    """Ask for the golden answers again, once in a process, if the card was written under other library versions."""
    if model.card.golden is None or model.card.versions == provenance.versions():
        return
    place = (model.ref.store.url, model.ref.folder)
    with _lock:
        if place in _looked_at:
            return
        _looked_at.add(place)
    found = changes(model)
    if found:
        log.warning(
            "%s answers otherwise than when it was published: %s%s; it was published under %s",
            model.ref,
            "; ".join(map(str, found[:_SHOWN])),
            f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "",
            _differences(model.card.versions, provenance.versions()),
        )


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return ", ".join(f"{name} {then.get(name, 'unknown')}, not {now.get(name, 'none')}" for name in names)


def _equal(then: float | None, now: float | None, tolerance: float) -> bool:
    if then is None or now is None:
        return then is now
    return abs(then - now) <= tolerance


def _tables(found: Sequence[Answers]) -> Tables:
    """Values, and the ends of the intervals where there are any, of each property: formulas × properties."""
    tables: dict[str, Any] = {"values": [each.value_B for each in found]}
    if all(each.half_B is not None for each in found):
        tables |= {"lower": [each.lower_B for each in found], "upper": [each.upper_B for each in found]}
    return {name: [_plain(row) for row in np.stack(columns, axis=1)] for name, columns in tables.items()}


def _plain(row: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in row]
