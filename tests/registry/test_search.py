"""Searching: what fits, which version is shown, in what order, what is said where nothing fits, and what there is."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

import xtlray
from tests import tiny
from tests.registry.interleaving import Memory
from tests.registry.library import card, errors, put
from xtlray.errors import RequestError, UnknownNameError
from xtlray.registry import compaction, index, rebuilding
from xtlray.registry.conditions import Query
from xtlray.registry.search import counts, search
from xtlray.store import Store, canonical_json

MODELS: list[dict[str, Any]] = [
    {"name": "gap", "version": 1, "metrics": errors(0.5, 0.6), "created": "2026-01-01T00:00:00Z"},
    {
        "name": "gap", "version": 2, "metrics": errors(0.3, 0.4), "created": "2026-01-02T00:00:00Z",
        "method": "tl-extract",
    },
    {"name": "gap", "version": 10, "metrics": errors(0.4, 0.3), "created": "2026-01-03T00:00:00Z"},
    {
        "name": "jarvis/klu", "version": 1, "property": "jarvis/klu", "label": "Bulk modulus", "unit": "GPa",
        "metrics": errors(10.0, 12.0), "created": "2026-01-02T12:00:00Z", "source_model": "builtin/oqmd@1+gap@2",
        "input": "elemental_fractions+physical_attributes", "elements_seen": {"Fe": 2, "U": 1, "O": 4},
        "dataset": {"splits": {"train": 4000}}, "citation": "K. Choudhary, npj Comput. Mater. (2020)",
        "members": [{"kind": "head"}, {"kind": "net", "net": {"name": "deepsets"}}],
        "descriptors": ["elemental_fractions", "physical_attributes", "source_activations"],
    },
    {
        "name": "untested", "version": 1, "property": "user/tc", "label": "critical temperature", "unit": "K",
        "metrics": errors(8.0, None), "created": "2025-01-01T00:00:00Z", "elements_seen": {"Y": 1},
    },
    {
        "name": "unscored", "version": 1, "property": "user/tc", "unit": "K", "metrics": {},
        "created": "2024-01-01T00:00:00Z",
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Those models; the index holds some, others have only their marks."""
    store = Store.open(str(tmp_path_factory.mktemp("library")))
    for n, model in enumerate(MODELS):
        if n == 3:
            compaction.fold(store)
        put(store, **model)
    return store


def models(library: Store, limit: int | None = None, **given: Any) -> list[str]:
    found = search(library, Query(**given), limit)
    return [row["model"] for row in found.rows() if not row["model"].startswith("builtin/")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"gap", "jarvis/klu", "untested", "unscored"}),
        ({"text": "BULK"}, {"jarvis/klu"}),
        ({"text": "bulk npj"}, {"jarvis/klu"}),
        ({"text": "bulk critical"}, set()),
        ({"text": "extract"}, {"gap"}),
        ({"text": "deepsets"}, {"jarvis/klu"}),
        ({"text": "oqmd"}, {"jarvis/klu"}),
        ({"property": "jarvis/klu"}, {"jarvis/klu"}),
        ({"property": "klu"}, {"jarvis/klu"}),
        ({"property": "bulk MODULUS"}, {"jarvis/klu"}),
        ({"property": "user/*"}, {"gap", "untested", "unscored"}),
        ({"property": "t?"}, {"untested", "unscored"}),
        ({"source": "builtin/oqmd"}, {"jarvis/klu"}),
        ({"source": "gap@2"}, {"jarvis/klu"}),
        ({"source": "gap*"}, {"jarvis/klu"}),
        ({"source": "none"}, {"gap", "untested", "unscored"}),
        ({"input": "elemental_fractions"}, {"gap", "untested", "unscored"}),
        ({"input": "physical_attributes+elemental_fractions"}, {"jarvis/klu"}),
        ({"input": "source_activations"}, {"jarvis/klu"}),
        ({"input": "*attributes"}, {"jarvis/klu"}),
        ({"net": "deepsets"}, {"jarvis/klu"}),
        ({"net": "head"}, {"jarvis/klu"}),
        ({"net": "e*"}, {"gap", "untested", "unscored"}),
        ({"method": "tl-extract"}, {"gap"}),
        ({"method": "tl-*"}, {"gap"}),
        ({"element": "u"}, {"jarvis/klu"}),
        ({"element": "Fe,O"}, {"gap", "jarvis/klu", "unscored"}),
        ({"element": "Fe, Y"}, set()),
        ({"unit": "K"}, {"untested", "unscored"}),
        ({"min_rows": 90}, {"gap", "jarvis/klu", "untested", "unscored"}),
        ({"min_rows": 91}, {"jarvis/klu"}),
        ({"max_mae": 12}, {"gap", "jarvis/klu", "untested"}),
        ({"max_mae": 11.9}, {"gap", "untested"}),
        ({"max_mae": 0.29}, set()),
        ({"text": "gap", "property": "gap", "max_mae": 0.5, "element": "O", "unit": "eV"}, {"gap"}),
    ],
)
def test_what_fits(library: Store, given: dict[str, Any], expected: set[str]) -> None:
    found = models(library, **given)
    assert {name.split("@")[0] for name in found} == expected
    assert len(found) == len(expected)
    assert {name.split("@")[0] for name in models(library, **given, all_versions=True)} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"property": "gap"}, ["gap@2"]),  # by validation error where a property is named
        ({"property": "gap", "sort": "test_mae"}, ["gap@10"]),
        ({"property": "gap", "sort": "created"}, ["gap@10"]),
        ({"property": "gap", "sort": "name"}, ["gap@10"]),
        ({"property": "gap", "method": "pretrain"}, ["gap@10"]),
        ({"property": "gap", "max_mae": 0.6, "sort": "created", "all_versions": True}, ["gap@10", "gap@2", "gap@1"]),
        ({"property": "gap", "sort": "name", "all_versions": True}, ["gap@10", "gap@2", "gap@1"]),
        ({}, ["gap@10", "jarvis/klu@1", "untested@1", "unscored@1"]),  # newest first
        ({"sort": "name"}, ["gap@10", "jarvis/klu@1", "unscored@1", "untested@1"]),
        ({"sort": "val_mae"}, ["gap@2", "untested@1", "jarvis/klu@1", "unscored@1"]),  # no error comes last
        ({"sort": "test_mae"}, ["gap@10", "jarvis/klu@1", "unscored@1", "untested@1"]),
    ],
)
def test_which_are_shown_in_what_order(library: Store, given: dict[str, Any], expected: list[str]) -> None:
    assert models(library, **given) == expected


def test_a_limit_cuts_what_is_shown_and_not_what_fits(library: Store) -> None:
    found = search(library, Query(property="user/*", sort="created"), 1)
    assert ([row["model"] for row in found.rows()], found.fitting) == (["gap@10"], 3)
    assert found.rows()[0]["versions"] == 3


def test_a_row_says_what_the_card_says(library: Store) -> None:
    (row,) = search(library, Query(property="klu")).rows()
    expected = {
        "model": "jarvis/klu@1", "name": "jarvis/klu", "version": 1, "properties": ["jarvis/klu"], "unit": "GPa",
        "rows_train": 4000, "val_mae": 10.0, "test_mae": 12.0, "elements": 3, "net": "deepsets+head", "members": 2,
        "source": "builtin/oqmd@1+gap@2", "method": "pretrain", "created": "2026-01-02T12:00:00Z", "versions": 1,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert {"folded", "gone", "problem", "place"} & set(row) == set()


def test_of_several_properties_the_one_that_is_asked_for(store: Store) -> None:
    data = [tiny.dataset(store, "user/gap"), tiny.dataset(store, "user/modulus", unit="GPa")]
    tiny.model(store, "two", data=data)
    rows = {name: search(store, Query(property=name)).rows()[0] for name in ("user/gap", "user/modulus")}
    assert {name: (row["unit"], row["val_mae"]) for name, row in rows.items()} == {
        "user/gap": ("eV", 0.5),
        "user/modulus": ("GPa", 5.0),
    }
    found = search(store, Query(text="two"))
    assert [(row["property"], row["properties"]) for row in found.rows()] == [
        ("user/gap", ["user/gap", "user/modulus"])
    ]
    assert found.fitting == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"property": "kul"}, "no property in this library of that name.*jarvis/klu.*models properties"),
        ({"source": "builtin/oqdm"}, "no source.*builtin/oqmd"),
        ({"input": "fraction"}, "no input.*elemental_fractions.*models inputs"),
        ({"net": "elemnett"}, "no net.*elemnet.*models nets"),
        ({"method": "tl-extrac"}, "no method.*tl-extract"),
        ({"unit": "gpa"}, "no unit.*GPa"),
        ({"element": "Xx"}, "no element"),
        ({"element": "Fe,Uu"}, "no element.*'uu'"),
        ({"element": " , "}, "no element.*''"),
        ({"sort": "size"}, "no order"),
    ],
)
def test_a_name_that_nothing_has_is_an_error_that_says_what_is_near(
    library: Store, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        search(library, Query(**given))


@pytest.mark.parametrize("given", [{"max_mae": math.nan}, {"max_mae": -1}, {"max_mae": math.inf}, {"min_rows": -1}])
def test_what_is_no_bound(library: Store, given: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="is no bound"):
        search(library, Query(**given))
    with pytest.raises(RequestError, match="is no bound"):
        search(library, Query(), limit=-1)


@pytest.mark.parametrize(
    ("given", "notes"),
    [
        (
            {"property": "klu", "max_mae": 5},
            ["without --property klu: 4 versions", "without --max-mae 5: 1 version, the lowest MAE 12"],
        ),
        (
            {"property": "tc", "min_rows": 100},
            ["without --property tc: 2 versions", "without --min-rows 100: 2 versions, of at most 90 training rows"],
        ),
        ({"text": "modulsu"}, ["nothing holds 'modulsu'; near it: modulus"]),
        ({"text": "bulk", "element": "Fe,Y"}, ["without --element Fe,Y: 1 version"]),
    ],
)
def test_what_is_near_is_said_where_nothing_fits(library: Store, given: dict[str, Any], notes: list[str]) -> None:
    found = search(library, Query(**given))
    assert (found.rows(), found.fitting) == ([], 0)
    for note in notes:
        assert any(said.startswith(note) for said in found.notes), found.notes


def test_what_a_person_should_know_of_the_errors(library: Store) -> None:
    assert search(library, Query(property="klu")).notes == []
    assert "errors of different properties" in search(library, Query(sort="val_mae")).notes[0]
    (note,) = search(library, Query(property="tc", max_mae=9)).notes
    assert (
        note
        == "--max-mae was compared with the test MAE; of 1 that have none, the validation MAE, in the property's unit"
    )


def test_the_models_of_the_package_are_always_among_them(store: Store) -> None:
    (row,) = search(store, Query(property="formation_energy")).rows()
    assert (row["model"], row["unit"]) == ("builtin/oqmd@1", "eV/atom")
    assert store.list("") == []


def test_among_many_the_same_are_found_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "_CHUNK", 100)
    store = Memory()
    for n in range(700):
        value = card(f"m/n{n:04d}", 1, property=f"p/q{n % 10}", metrics=errors(1 + n * 79 % 701 / 100, None))
        store.files[index.card_key((value["name"], 1))] = canonical_json(value)
    found = search(store, Query(property="q3", max_mae=5.5))
    expected = sorted((1 + n * 79 % 701 / 100, f"m/n{n:04d}") for n in range(3, 700, 10))
    assert [(row["val_mae"], row["name"]) for row in found.rows()] == [each for each in expected if each[0] <= 5.5]
    assert rebuilding.state(store)["segments"] == 7


# --- counts ----------------------------------------------------------------------------------------------------------


def counted(library: Store, what: str) -> dict[str, tuple[int, int]]:
    return {row[what]: (row["models"], row["versions"]) for row in counts(library, what) if "oqmd" not in row[what]}


def test_what_there_is(library: Store) -> None:
    assert counted(library, "property") == {"user/gap": (1, 3), "user/tc": (2, 2), "jarvis/klu": (1, 1)}
    assert counted(library, "net") == {"elemnet": (3, 5), "deepsets": (2, 2), "head": (1, 1)}
    assert counted(library, "input") == {
        "elemental_fractions": (4, 6),
        "elemental_fractions+physical_attributes": (1, 1),
    }
    assert counted(library, "descriptors") == {
        "elemental_fractions": (5, 7),
        "physical_attributes": (1, 1),
        "source_activations": (1, 1),
    }


def test_a_property_is_listed_with_its_lowest_error(library: Store) -> None:
    rows = {row["property"]: row for row in counts(library, "property")}
    assert rows["user/gap"] == {
        "property": "user/gap", "models": 1, "versions": 3, "label": "band gap", "unit": "eV", "val_mae": 0.3,
        "model": "gap@2",
    }  # fmt: skip
    assert rows["user/tc"]["model"] == "untested@1"


# --- in Python -------------------------------------------------------------------------------------------------------


def test_in_python_it_is_a_data_frame(library: Store) -> None:
    found = xtlray.search("bulk", property="klu", store=str(library.local_path))
    assert isinstance(found, pd.DataFrame)
    assert found["model"].tolist() == ["jarvis/klu@1"]
    assert found["properties"].tolist() == [["jarvis/klu"]]
    everything = xtlray.search(store=library, sort="name", all_versions=True)
    assert len(everything) == 7
    assert everything["rows_train"].dtype == "Int64"
    assert everything["test_mae"].isna().sum() == 2
    assert everything["members"].sum() == 8
    assert xtlray.search("no such words", store=library).empty
