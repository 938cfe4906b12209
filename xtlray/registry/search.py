"""Finding models: of all rows of the library those that fit a query, as a table; and what there is, counted.

A model that answers for several properties is shown with the one that was asked for, else with its first.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xtlray.errors import RequestError, unknown
from xtlray.registry import columns
from xtlray.registry.columns import TEXT, WHOLE, Reals, Truths, Wholes
from xtlray.registry.conditions import SORTS, Query, Sort, masks, near
from xtlray.registry.frame import Frame
from xtlray.registry.reading import Say, all_rows
from xtlray.store import Store

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("xtlray.registry")
_PARTS = ("descriptors", "net")  # columns whose values are parts joined by +


@dataclass(frozen=True)
class Found:
    """What fits a query.

    Attributes:
        table: one row per model, in order, as many as were asked for.
        fitting: how many there are.
        notes: what a person should know about them.
    """

    table: pa.Table
    fitting: int
    notes: list[str] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping per model."""
        return [{**row, "properties": row["properties"].split()} for row in self.table.to_pylist()]

    def as_pandas(self) -> pd.DataFrame:
        """One row per model; whole numbers stay whole where one is missing."""
        import pandas as pd

        frame = self.table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        return frame.assign(properties=frame["properties"].str.split())


def search(store: Store, query: Query, limit: int | None = None, say: Say = lambda text: None) -> Found:
    """The models that fit a query.

    Args:
        store: the library.
        query: what is looked for.
        limit: how many are shown at most.
        say: told what takes long.

    Raises:
        RequestError: a name in the query is not known in this library, or a bound is none.
        StoreError: the index is damaged.
    """
    _check(query, limit)
    frame = Frame(all_rows(store, say))
    met = masks(frame, query)
    fitting = np.logical_and.reduce([np.ones(len(frame), bool), *met.values()])
    chosen, versions = _chosen(frame, fitting, query)
    notes = _notes(frame, chosen, query) if len(chosen) else near(frame, query, met)
    shown = chosen if limit is None else chosen[:limit]
    return Found(_presented(columns.taken(frame.table, shown), versions[: len(shown)]), len(chosen), notes)


def _check(query: Query, limit: int | None) -> None:
    if query.order() not in SORTS:
        raise unknown("order", query.order(), SORTS)
    for name, value in (("max_mae", query.max_mae), ("min_rows", query.min_rows), ("limit", limit)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise RequestError(f"{name} is no bound", got=str(value), allowed="a number, 0 or more")


# --- which are shown, and in what order ------------------------------------------------------------------------------


def _chosen(frame: Frame, fitting: Truths, query: Query) -> tuple[Wholes, Wholes]:
    """The rows that are shown, in order, one per model; and of each how many versions of its name fit."""
    rows = np.flatnonzero(fitting)
    if len(rows) == 0:
        return rows, rows
    version, place = frame.version[rows], columns.wholes(frame.table["place"])[rows]
    first = np.lexsort((place, version))  # of each version the first of its properties that fits
    rows = rows[first[np.r_[True, np.diff(version[first]) > 0]]]
    numbers, names = columns.wholes(frame.table["version"])[rows], frame.rank("name", rows)
    order = np.lexsort((-numbers, names, _key(frame, query.order(), rows)))
    rows, names = rows[order], names[order]
    _, at, back, counts = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    if query.all_versions:
        return rows, counts[back]
    shown = np.sort(at)
    return rows[shown], counts[back[shown]]


def _key(frame: Frame, order: Sort, rows: Wholes) -> Reals | Wholes:
    """A number for each of some rows that it comes the earlier the smaller it is; NaN comes last."""
    if order == "created":
        return -frame.rank("created", rows)
    return frame.rank("name", rows) if order == "name" else frame.number(order)[rows]


def _presented(table: pa.Table, versions: Wholes) -> pa.Table:
    """The columns that are shown: `model` first; what belongs to the index alone is left out."""
    rows = table.select(["name", "version", "elements_seen"]).to_pylist()
    models = [f"{row['name']}@{row['version']}" for row in rows]
    elements = [None if row["elements_seen"] is None else len(row["elements_seen"].split()) for row in rows]
    table = table.add_column(0, "model", columns.column(models, TEXT))
    table = table.append_column("elements", columns.column(elements, WHOLE))
    table = table.append_column("versions", columns.column(versions.tolist(), WHOLE))
    return table.drop_columns(["folded", "gone", "problem", "place"])


# --- what a person should know ---------------------------------------------------------------------------------------


def _notes(frame: Frame, chosen: Wholes, query: Query) -> list[str]:
    notes = []
    codes, _ = frame.text("property")
    if query.order() in ("val_mae", "test_mae") and len(np.unique(codes[chosen])) > 1:
        notes.append("errors of different properties stand in one column; --property names one")
    if query.max_mae is not None:
        untested = int(np.isnan(frame.number("test_mae")[chosen]).sum())
        compared = f"the test MAE; of {untested} that have none, the validation MAE" if untested else "the test MAE"
        notes.append(f"--max-mae was compared with {compared}, in the property's unit")
    return notes


# --- what there is ---------------------------------------------------------------------------------------------------


def counts(store: Store, what: str, say: Say = lambda text: None) -> list[dict[str, Any]]:
    """The values of a column, with how many models and versions have each, most first.

    Args:
        store: the library.
        what: `property`, `input`, `descriptors` or `net`; the parts of the last two are counted by themselves.
        say: told what takes long.

    Returns:
        `what`, `models` (names), `versions`; of a property `label`, `unit`, the lowest `val_mae` and the `model` that
        has it; of the others how many `properties` there are models for.
    """
    frame = Frame(all_rows(store, say))
    codes, values = frame.text(what)
    parts: dict[str, list[int]] = {}
    for code, value in enumerate(values):
        for part in value.split("+") if what in _PARTS else [value]:
            parts.setdefault(part, []).append(code)
    by_code = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[by_code], np.arange(len(values) + 1))
    found = []
    for part, of in parts.items():
        rows = np.concatenate([by_code[starts[code] : starts[code + 1]] for code in of])
        row = {what: part, "models": _distinct(frame.text("name")[0][rows]), "versions": _distinct(frame.version[rows])}
        more = _best(frame, rows) if what == "property" else {"properties": _distinct(frame.text("property")[0][rows])}
        found.append({**row, **more})
    return sorted(found, key=lambda row: (-row["versions"], row[what]))


def _distinct(codes: Wholes) -> int:
    return len(np.unique(codes))


def _best(frame: Frame, rows: Wholes) -> dict[str, Any]:
    """Label and unit of a property, and its lowest validation error."""
    errors = frame.number("val_mae")[rows]
    at = int(rows[0 if np.isnan(errors).all() else np.nanargmin(errors)])
    row = frame.table.slice(at, 1).to_pylist()[0]
    model = f"{row['name']}@{row['version']}"
    return {key: row[key] for key in ("label", "unit", "val_mae")} | {"model": model}


# --- in Python -------------------------------------------------------------------------------------------------------


def search_models(
    text: str = "",
    *,
    property: str | None = None,
    source: str | None = None,
    input: str | None = None,
    net: str | None = None,
    method: str | None = None,
    element: str | None = None,
    unit: str | None = None,
    min_rows: int | None = None,
    max_mae: float | None = None,
    sort: Sort | None = None,
    all_versions: bool = False,
    limit: int | None = None,
    store: Store | str | None = None,
) -> pd.DataFrame:
    """Search the library: one row per model, best first where a property is named, else newest first.

    `xtlray.load(found.model[0])` loads the first. All that is given has to hold, and names may be shell patterns.

    Args:
        text: words, all of which stand in a model's name, property, label, method, net, source or citation.
        property: its name (`jarvis/klu`), the part behind the slash, or its label.
        source: model that it was carried over from, with or without version; `none`: none.
        input: what it reads, such as `elemental_fractions`; or one kind of column among what its members read.
        net: that a member is made of.
        method: that made it.
        element: symbols that its training rows held, such as `Fe` or `Fe,O`.
        unit: of the property.
        min_rows: that it was trained on.
        max_mae: of its test rows, in the property's unit; of its validation rows where it has no test error.
        sort: `val_mae`, `test_mae` (ascending), `created` (newest first) or `name`.
        all_versions: of each name all versions that fit, not only the one that comes first.
        limit: how many rows at most.
        store: the library, a URL or a folder; by default `$XTLRAY_STORE`, else `./xtlray-store`.

    Raises:
        RequestError: a name is not known in this library (the nearest are named), or a bound is none.
        StoreError: the index of the library is damaged.
    """
    query = Query(
        text, property, source, input, net, method, element, unit, min_rows, max_mae, sort, all_versions
    )  # fmt: skip
    found = search(store if isinstance(store, Store) else Store.open(store), query, limit, log.info)
    for note in found.notes:
        log.info("%s", note)
    return found.as_pandas()
