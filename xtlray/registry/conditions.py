"""What is looked for among the models of the library: the conditions of a query, each as a mask over its rows.

A name that nothing in the library has is an error that offers the nearest names; conditions that no model meets all at
once are an empty answer, and it is said what would be found without one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import numpy as np

from xtlray.errors import nearest, unknown
from xtlray.registry.columns import Reals, Truths
from xtlray.registry.frame import Frame

Sort = Literal["val_mae", "test_mae", "created", "name"]
SORTS: tuple[str, ...] = get_args(Sort)
TEXT = ("name", "property", "label", "method", "net", "source", "citation")
NONE = "none"


@dataclass(frozen=True)
class Query:
    """What is looked for. All that is given has to hold; names may be shell patterns such as `jarvis/*`.

    Attributes:
        text: words, each of which stands in one of `TEXT`, in whatever case.
        property: of a model: its name, the part behind the slash, or its label.
        source: model that it was carried over from, with or without version; `none`: none.
        input: what it reads, as `models inputs` shows it; or one kind of column among what its members read.
        net: that a member is made of.
        method: that made it.
        element: symbols that its training rows held, such as `Fe` or `Fe,O`.
        unit: of the property.
        min_rows: that it was trained on.
        max_mae: of its test rows, in the property's unit; of its validation rows where it has no test error.
        sort: errors ascending, `created` newest first; by default `val_mae` where a property is named, else `created`.
        all_versions: of each name all that fit, not only the one that comes first.
    """

    text: str = ""
    property: str | None = None
    source: str | None = None
    input: str | None = None
    net: str | None = None
    method: str | None = None
    element: str | None = None
    unit: str | None = None
    min_rows: int | None = None
    max_mae: float | None = None
    sort: Sort | None = None
    all_versions: bool = False

    def order(self) -> Sort:
        """By what the models are sorted."""
        return self.sort or ("val_mae" if self.property else "created")


def masks(frame: Frame, query: Query) -> dict[str, Truths]:
    """The rows that meet each condition, by the words that a user wrote it in.

    Raises:
        UnknownNameError: a name is that of nothing in the library.
    """
    found = {repr(word): _holding(frame, word) for word in _words(query)}
    conditions: dict[str, Callable[[Frame, str], Truths]] = {
        "property": _of_property,
        "source": _of_source,
        "input": _of_input,
        "net": _of_net,
        "method": lambda frame, wanted: frame.where("method", _like(wanted)),
        "unit": lambda frame, wanted: frame.where("unit", _like(wanted)),
        "element": _with_elements,
    }
    for name, condition in conditions.items():
        wanted = getattr(query, name)
        if wanted is not None:
            found[f"--{name} {wanted}"] = mask = condition(frame, wanted)
            if name != "element" and not mask.any():
                known = _known(frame, name, wanted)
                listed = {"property": "properties", "input": "inputs", "net": "nets"}.get(name)
                fix = f"see `xtlray models {listed}`" if listed else None
                raise unknown(f"{name} in this library", wanted, known, fix)
    if query.min_rows is not None:
        found[f"--min-rows {query.min_rows}"] = frame.number("rows_train") >= query.min_rows
    if query.max_mae is not None:
        found[f"--max-mae {query.max_mae:g}"] = error(frame) <= query.max_mae
    return found


def _words(query: Query) -> list[str]:
    return query.text.lower().split()


def _holding(frame: Frame, word: str) -> Truths:
    return np.logical_or.reduce([frame.where(column, lambda value: word in value.lower()) for column in TEXT])


def _like(wanted: str) -> Callable[[str], bool]:
    """Whether a name is the one that is wanted, or matches it as a shell pattern."""
    return lambda value: value == wanted or fnmatchcase(value, wanted)


def _parts(value: str) -> list[str]:
    return value.split("+")


def _of_property(frame: Frame, wanted: str) -> Truths:
    like = _like(wanted)
    named = frame.where("property", lambda name: like(name) or like(name.rsplit("/", 1)[-1]))
    return named | frame.where("label", lambda label: label.lower() == wanted.lower())


def _of_source(frame: Frame, wanted: str) -> Truths:
    if wanted == NONE:
        return frame.text("source")[0] < 0
    like = _like(wanted)
    return frame.where("source", lambda value: any(like(s) or like(s.split("@")[0]) for s in _parts(value)))


def _of_input(frame: Frame, wanted: str) -> Truths:
    whole = frame.where("input", lambda value: sorted(_parts(value)) == sorted(_parts(wanted)))
    return whole if whole.any() else frame.where("descriptors", lambda value: any(map(_like(wanted), _parts(value))))


def _of_net(frame: Frame, wanted: str) -> Truths:
    return frame.where("net", lambda value: any(map(_like(wanted), _parts(value))))


def _with_elements(frame: Frame, wanted: str) -> Truths:
    known = {symbol.lower(): symbol for symbol in _known(frame, "element", wanted)}
    symbols = {symbol.strip().lower() for symbol in wanted.split(",") if symbol.strip()}
    for symbol in sorted(symbols - {*known}) or [""] * (not symbols):
        raise unknown("element that a model of this library was trained on", symbol, known.values())
    return frame.where("elements_seen", lambda value: symbols <= set(value.lower().split()))


def error(frame: Frame) -> Reals:
    """The error that is compared with a bound: of the test rows, else of the validation rows."""
    test = frame.number("test_mae")
    return np.where(np.isnan(test), frame.number("val_mae"), test)


def _known(frame: Frame, name: str, wanted: str) -> set[str]:
    """What there is to be named in a condition; of properties those of which the last part is near, if any is."""
    values = frame.values("elements_seen" if name == "element" else name)
    if name == "element":
        return {symbol for value in values for symbol in value.split()}
    if name == "source":
        return {part.split("@")[0] for value in values for part in _parts(value)} | {NONE}
    if name == "net":
        return {part for value in values for part in _parts(value)}
    if name == "property":
        tails = nearest(wanted, {value.rsplit("/", 1)[-1] for value in values})
        return {value for value in values if value.rsplit("/", 1)[-1] in tails} or {*values}
    more = {part for value in frame.values("descriptors") for part in _parts(value)} if name == "input" else set()
    return {*values, *more}


def near(frame: Frame, query: Query, masks: dict[str, Truths]) -> list[str]:
    """What would be found without one of the conditions; of words that stand nowhere, those that look like them."""
    notes = []
    values = [value for column in ("property", "label", "method", "net") for value in frame.values(column)]
    words = {word for value in values for word in value.lower().replace("/", " ").replace("+", " ").split()}
    for word in _words(query):
        close = [] if masks[repr(word)].any() else nearest(word, words)
        if close:
            notes.append(f"nothing holds {word!r}; near it: {', '.join(close)}")
    for left_out in masks:
        others = [mask for name, mask in masks.items() if name != left_out]
        rows = np.flatnonzero(np.logical_and.reduce([np.ones(len(frame), bool), *others]))
        if others and len(rows):
            count = len(np.unique(frame.version[rows]))
            notes.append(f"without {left_out}: {count} version{'s' * (count > 1)}{_extreme(frame, rows, left_out)}")
    return notes


def _extreme(frame: Frame, rows: np.ndarray, left_out: str) -> str:
    """How far the nearest of some rows is from a bound."""
    if left_out.startswith("--max-mae"):
        errors = error(frame)[rows]
        return f", the lowest MAE {np.nanmin(errors):.4g}" if not np.isnan(errors).all() else ", without errors"
    if left_out.startswith("--min-rows"):
        trained = frame.number("rows_train")[rows]
        return f", of at most {np.nanmax(trained):.0f} training rows" if not np.isnan(trained).all() else ""
    return ""
