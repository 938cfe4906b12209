"""Rows of the index: what they take from cards, old, new and odd ones, and how they lie in files."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import tiny
from tests.registry.library import card, errors
from xtlray.errors import StoreError
from xtlray.registry import segments
from xtlray.registry.manifests import Segment
from xtlray.registry.versions import resolve
from xtlray.store import Store

ABOUT = ("user/gap", 1)


def test_a_row_per_property_with_its_own_figures(store: Store) -> None:
    data = [tiny.dataset(store, "user/gap"), tiny.dataset(store, "user/modulus", unit="GPa")]
    ref = tiny.model(store, data=data)
    first, second = segments.rows_of_bytes((ref.name, ref.version), store.get(ref.card_key))
    assert (first["property"], first["unit"], first["val_mae"], first["test_mae"]) == ("user/gap", "eV", 0.5, 0.6)
    assert (second["property"], second["unit"], second["val_mae"], second["test_mae"]) == ("user/modulus", "GPa", 5, 6)
    assert [first["place"], second["place"]] == [0, 1]
    assert first["properties"] == second["properties"] == "user/gap user/modulus"
    splits = data[0].card.splits
    assert first["rows_train"] == splits["train"]
    assert (first["net"], first["members"], first["input"]) == ("elemnet", 2, "elemental_fractions")
    assert set(first["elements_seen"].split()) == set(ref.card().answers()[0].elements_seen)


def test_an_old_card_has_one_row(store: Store) -> None:
    """That of the package is of schema 2; before it cards had no `properties`."""
    ref = resolve(store, "builtin/oqmd@1")
    about = (ref.name, ref.version)
    rows = segments.rows_of_bytes(about, ref.store.get(ref.card_key))
    names = ["formation_energy", "energy_per_atom", "volume_per_atom", "band_gap"]
    assert [row["property"] for row in rows] == [f"oqmd/{name}" for name in names]
    older = json.loads(ref.store.get(ref.card_key))
    del older["properties"]
    (row,) = segments.rows_of_bytes(about, json.dumps({**older, "schema_version": 1}).encode())
    assert (row["property"], row["unit"], row["rows_train"]) == ("oqmd/formation_energy", "eV/atom", 133_090)
    assert row["val_mae"] == pytest.approx(0.04126, abs=1e-5)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        ({"sizes": {"a": 3, "b": 4}}, "bytes", 7),
        (
            {"input": "elemental_fractions+physical_attributes"},
            "descriptors",
            "elemental_fractions+physical_attributes",
        ),
        (
            {"descriptors": ["physical_attributes", "source_answers"]},
            "descriptors",
            "physical_attributes+source_answers",
        ),
        ({"source_model": "builtin/oqmd@1+a@2"}, "source", "builtin/oqmd@1+a@2"),
        ({"label": "gap\N{NO-BREAK SPACE}of it"}, "label", "gap of it"),
        ({"metrics": errors(0.25, None)}, "test_mae", None),
        ({"unit": None}, "unit", None),
        (
            {
                "nets": [
                    {"name": "Ridge", "role": "member", "members": 1},
                    {"name": "x", "role": "source", "members": 1},
                ]
            },
            "net",
            "Ridge",
        ),
    ],
)
def test_what_a_row_takes_from_a_card(strict: bool, changes: dict[str, Any], column: str, expected: Any) -> None:
    (row,) = segments.rows_of_bytes(ABOUT, json.dumps(card(**changes)).encode(), strict)
    assert row.get(column) == expected


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b"[1]", ""),
        (b"null", ""),
        (b"{}", ""),
        (b"[" * 100_000, ""),
        (json.dumps(card(name="user/other")).encode(), "another version"),
        (json.dumps(card(version=2)).encode(), "another version"),
        (json.dumps(card(dataset={"splits": {"train": "many"}})).encode(), "rows_train"),
        (json.dumps(card(dataset={"splits": {"train": 2**63}})).encode(), ""),
        (json.dumps(card(sizes={"a": -1})).encode(), ""),
        (json.dumps(card(metrics={"val": {"rows": 9, "mae": "low"}})).encode(), ""),
    ],
)
def test_a_card_that_cannot_be_read_has_a_row_that_says_so(data: bytes, problem: str, strict: bool) -> None:
    """And it can be written, beside all others."""
    (row,) = segments.rows_of_bytes(ABOUT, data, strict)
    assert problem in row["problem"]
    assert (row["name"], row["version"]) == ABOUT
    assert segments.table_of([row], 1)["problem"].to_pylist() == [row["problem"]]


def test_a_text_cannot_steer_a_terminal() -> None:
    (row,) = segments.rows_of_bytes(
        ABOUT, json.dumps(card(citation="a\x1b[2Jb\ud800c", run="x" * 20_000)).encode(), False
    )
    assert row["citation"] == "a [2Jb c"
    assert len(row["run"]) == 10_001
    segments.table_of([row], 1)


def test_of_a_version_the_rows_that_were_folded_last_hold() -> None:
    def rows(folded: int, *about: tuple[str, int], gone: bool = False) -> pa.Table:
        return segments.table_of(
            [{"name": n, "version": v, "place": p, "gone": gone} for n, v in about for p in range(1 if gone else 2)],
            folded,
        )

    tables = [
        rows(1, ("a", 1), ("a", 2), ("b", 1)),
        rows(2, ("a", 1), gone=True),
        rows(3, ("b", 1), gone=True),
        rows(4, ("b", 1)),
        rows(4, ("c", 1)),
    ]
    expected = [("a", 1, 2, True), ("a", 2, 1, False), ("b", 1, 4, False), ("c", 1, 4, False)]
    for order in (tables, tables[::-1]):
        found = segments.joined(order).to_pylist()
        assert sorted({(r["name"], r["version"], r["folded"], r["gone"]) for r in found}) == expected
        assert len(found) == 7
    assert len(segments.joined([])) == 0


def test_a_segment_comes_back_and_a_flipped_bit_is_seen(store: Store) -> None:
    table = segments.table_of([*segments.rows_of(card()), segments.gone(("x", 2))], 5)
    segment = segments.write(store, table)
    data = store.get(segment.key)
    assert (segment.rows, segment.gone, segment.first, segment.last, segment.bytes) == (2, 1, 5, 5, len(data))
    assert segments.read(segment, data).equals(table)
    for at in np.linspace(0, len(data) - 1, 50).astype(int):
        with pytest.raises(StoreError, match="damaged"):
            segments.read(segment, data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


def test_a_segment_from_before_a_column_was_added() -> None:
    table = segments.table_of(segments.rows_of(card()), 5)
    sink = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["bytes", "descriptors"]), sink)
    data = sink.getvalue().to_pybytes()
    found = segments.read(Segment("k", 1, 0, len(data), hashlib.sha256(data).hexdigest(), 5, 5), data)
    assert found.schema.equals(segments.SCHEMA)
    assert (found["descriptors"].to_pylist(), found["net"].to_pylist()) == ([None], ["elemnet"])


def test_what_is_no_parquet_is_refused() -> None:
    data = b"PAR1 but no more"
    with pytest.raises(StoreError, match=r"damaged.*models index --rebuild"):
        segments.read(Segment("k", 1, 0, len(data), hashlib.sha256(data).hexdigest(), 5, 5), data)
