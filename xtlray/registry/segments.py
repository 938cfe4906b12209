"""Rows of the library's index, and the Parquet files that they lie in.

One row per version and property that it answers for: what a search filters by and shows. A version whose card cannot
be read has one row that says why (`problem`), one that was deleted has one that is `gone`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xtlray.errors import StoreError
from xtlray.registry import columns, index, manifests
from xtlray.registry.columns import REAL, TEXT, TRUTH, WHOLE, Wholes
from xtlray.registry.manifests import Segment, Version
from xtlray.store import Store

_FIELDS: dict[str, pa.DataType] = {
    "name": TEXT,
    "version": WHOLE,
    "folded": WHOLE,  # the number of the manifest that it came with
    "gone": TRUTH,
    "problem": TEXT,
    "place": WHOLE,  # of the property among those that the version answers for
    "properties": TEXT,  # all of them, with blanks between
    "property": TEXT,
    "label": TEXT,
    "unit": TEXT,
    "input": TEXT,
    "descriptors": TEXT,  # kinds of columns that its members read, joined by +
    "net": TEXT,  # what its members are made of, joined by +
    "members": WHOLE,
    "method": TEXT,
    "source": TEXT,
    "rows_train": WHOLE,
    "rows_val": WHOLE,
    "rows_test": WHOLE,
    "val_mae": REAL,
    "test_mae": REAL,
    "test_r2": REAL,
    "elements_seen": TEXT,  # symbols, with blanks between
    "created": TEXT,
    "run": TEXT,
    "commit": TEXT,
    "licence": TEXT,
    "citation": TEXT,
    "copied_from": TEXT,
    "split_id": TEXT,
    "data_hash": TEXT,
    "bytes": WHOLE,
}
SCHEMA = pa.schema([pa.field(name, kind) for name, kind in _FIELDS.items()])
NOTHING = columns.empty(SCHEMA)
Row = dict[str, Any]
_LONGEST = 10_000  # characters of a text


def rows_of(card: Mapping[str, Any]) -> list[Row]:
    """The rows of a version.

    Args:
        card: as JSON, of any schema version.
    """
    answers = card.get("properties") or [
        {
            **{key: card[key] for key in ("label", "unit", "dataset", "metrics", "elements_seen")},
            "name": card["property"],
        }
    ]
    reads = card.get("input", "elemental_fractions")
    shared = {
        "name": card["name"],
        "version": card["version"],
        "properties": " ".join(answer["name"] for answer in answers),
        "input": reads,
        "descriptors": "+".join(card.get("descriptors") or ()) or reads,
        "net": "+".join(_nets(card)) or None,
        "members": len(card["members"]),
        "bytes": sum(card["sizes"].values()) if card.get("sizes") else None,
        "source": card.get("source_model"),
        **{key: card.get(key) for key in ("method", "created", "run", "commit", "licence", "citation", "copied_from")},
    }
    return [{**shared, "place": place, **_of_property(answer)} for place, answer in enumerate(answers)]


def _of_property(answer: Mapping[str, Any]) -> Row:
    metrics, data = answer["metrics"], answer["dataset"]
    val, test = metrics.get("val") or {}, metrics.get("test") or {}
    rows = answer.get("rows_train")
    return {
        "property": answer["name"],
        "label": answer["label"],
        "unit": answer["unit"],
        "rows_train": data.get("splits", {}).get("train") if rows is None else rows,
        "rows_val": val.get("rows"),
        "rows_test": test.get("rows"),
        "val_mae": val.get("mae"),
        "test_mae": test.get("mae"),
        "test_r2": test.get("r2"),
        "elements_seen": " ".join(answer["elements_seen"]),
        "split_id": data.get("split_id"),
        "data_hash": data.get("data_hash"),
    }


def _nets(card: Mapping[str, Any]) -> list[str]:
    """Names of the nets that answer, and of other kinds of members; sources that they stand on are not among them."""
    told = [net["name"] for net in card.get("nets", ()) if net["role"] == "member"]
    return sorted(set(told or [(member.get("net") or {}).get("name") or member["kind"] for member in card["members"]]))


def rows_of_bytes(about: Version, data: bytes, strict: bool = True) -> list[Row]:
    """The rows of a version whose card holds `data`; of a card that cannot be read, one that says why.

    Args:
        about: the version.
        data: of its card.
        strict: check all of the card, not only what the rows are made of: slower, and a newer card may be refused.
    """
    key = index.card_key(about)
    try:
        if strict:
            from xtlray.registry.versions import read_card  # pydantic: as long as a search among 100,000

            value = read_card(data, key).as_json()
        else:
            value = json.loads(data)
        if (value["name"], value["version"]) != about:
            raise StoreError("The card is that of another version", got=f"{value['name']}@{value['version']} in {key}")
        return [_checked(row) for row in rows_of(value)]
    except (StoreError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return [{"name": about[0], "version": about[1], "place": 0, "problem": _printable(str(error))}]


def _checked(row: Row) -> Row:
    """The row, of values that its columns can hold: one odd card must not keep all others from being written."""
    found: Row = {}
    for name, value in row.items():
        kind = _FIELDS[name]
        if value is None:
            continue
        if kind == TEXT and isinstance(value, str):
            found[name] = _printable(value)
        elif kind == WHOLE and isinstance(value, int) and 0 <= value < 1 << 63:
            found[name] = int(value)
        elif kind == REAL and isinstance(value, (int, float)):
            found[name] = float(value)
        else:
            raise ValueError(f"{name} of a model is {str(value)[:100]!r}")
    return found


def _printable(text: str) -> str:
    """Text that a terminal shows as it is, and that UTF-8 can hold."""
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def gone(about: Version) -> Row:
    """The row that says that a version is there no more."""
    return {"name": about[0], "version": about[1], "place": 0, "gone": True}


def table_of(rows: Iterable[Row], folded: int) -> pa.Table:
    """Rows as a table; what they do not say is missing in it."""
    rows = list(rows)
    values = {name: [row.get(name) for row in rows] for name in _FIELDS}
    values["folded"] = [folded] * len(rows)
    values["gone"] = [bool(row.get("gone")) for row in rows]
    return pa.table({name: columns.column(values[name], kind) for name, kind in _FIELDS.items()}, schema=SCHEMA)


def latest(table: pa.Table) -> pa.Table:
    """Of the rows of each version those that were folded last, those that are `gone` among them."""
    about, folded = version_codes(table), columns.wholes(table["folded"])
    order = np.lexsort((folded, about))
    last = np.flatnonzero(np.diff(about[order], append=-1))  # where the rows of a version end
    highest = np.repeat(folded[order][last], np.diff(last, prepend=-1))
    keep = np.empty(len(table), np.bool_)
    keep[order] = folded[order] == highest
    return columns.picked(table, keep)


def version_codes(table: pa.Table) -> Wholes:
    """A number for each row that it shares with the other rows of its version alone."""
    return codes_of(columns.codes(table["name"])[0], columns.wholes(table["version"]))


def codes_of(names: Wholes, versions: Wholes) -> Wholes:
    """`version_codes`, of a number for each name and the versions."""
    _, versions = np.unique(versions, return_inverse=True)
    return names * (int(versions.max(initial=0)) + 1) + versions


def encode(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=1 << 20)
    return sink.getvalue().to_pybytes()


def write(store: Store, table: pa.Table) -> Segment:
    """Write a segment; it counts once a manifest names it."""
    data = encode(table)
    key = f"{index.SEGMENTS}/{manifests.stamp(index.clock())}-{secrets.token_hex(8)}.parquet"
    folded = columns.wholes(table["folded"])
    store.create(key, data)
    return Segment(
        key=key,
        rows=len(table),
        gone=int(columns.truths(table["gone"]).sum()),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        first=int(folded.min()),
        last=int(folded.max()),
    )


def read(segment: Segment, data: bytes) -> pa.Table:
    """The table of a segment whose file holds `data`. Raises `StoreError` where that is not what was written."""
    if hashlib.sha256(data).hexdigest() != segment.sha256:
        raise manifests.damaged(f"{segment.key} is not the file that was written")
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        missing = [name for name in SCHEMA.names if name not in table.schema.names]  # columns that are newer than it
        for name in missing:
            table = table.append_column(SCHEMA.field(name), columns.column([None] * len(table), _FIELDS[name]))
        table = table.select(SCHEMA.names)
        return table if table.schema.equals(SCHEMA) else table.cast(SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise manifests.damaged(f"{segment.key}: {error}") from error


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables one under the other, the latest rows of each version."""
    return latest(pa.concat_tables([NOTHING, *tables]))
