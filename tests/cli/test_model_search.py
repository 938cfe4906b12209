"""`xtlray models search` and its like: what is printed where, in which format, with which exit code."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Said
from tests.registry.library import errors, put
from xtlray.registry import index, manifests
from xtlray.store import Store

Xtlray = Callable[..., Said]


@pytest.fixture
def library(store: Store) -> Store:
    put(store, "user/gap", 1, metrics=errors(0.5, 0.6), history=[{"epoch": 1, "loss": 0.9, "val": 0.5, "vals": [0.5]}])
    put(store, "user/gap", 2, metrics=errors(0.4, None), versions={"numpy": "1.0"}, history=[])
    put(store, "user/tc", 1, property="user/tc", label="critical temperature", unit="K", created="2025-01-01T00:00:00Z")
    return store


def test_a_table_for_people(xtlray: Xtlray, library: Store) -> None:
    code, out, err = xtlray("models", "search", "--property", "gap")
    assert code == 0
    head, _, *lines = out.splitlines()
    assert head.split()[:3] == ["model", "property", "val"]
    assert [line.split()[0] for line in lines] == ["user/gap@2"]
    assert err == ""


def test_json_and_csv_have_everything(xtlray: Xtlray, library: Store) -> None:
    words = ("models", "search", "user", "--sort", "name", "--all-versions")
    rows = json.loads(xtlray(*words, "--json")[1])
    assert [row["model"] for row in rows] == ["user/gap@2", "user/gap@1", "user/tc@1"]
    assert (rows[0]["test_mae"], rows[0]["properties"]) == (None, ["user/gap"])
    table = list(csv.DictReader(io.StringIO(xtlray(*words, "--format", "csv")[1])))
    assert [row["model"] for row in table] == [row["model"] for row in rows]
    assert set(table[0]) == set(rows[0])


@pytest.mark.parametrize(
    ("words", "models"),
    [
        (["critical", "TEMPERATURE"], ["user/tc@1"]),
        (["critical temperature"], ["user/tc@1"]),
        (["--unit", "K"], ["user/tc@1"]),
        (["user", "--limit", "1"], ["user/gap@2"]),
        (["--property", "gap", "--max-mae", "0.45"], ["user/gap@2"]),
        (["--property", "gap", "--max-mae", "0.39"], []),
        (["--element", "Fe", "--method", "pretrain", "--net", "elemnet", "--min-rows", "90", "--source", "none"],
         ["user/gap@2", "user/tc@1"]),
    ],
)  # fmt: skip
def test_conditions(xtlray: Xtlray, library: Store, words: list[str], models: list[str]) -> None:
    code, out, _ = xtlray("models", "search", *words, "--json")
    assert (code, [row["model"] for row in json.loads(out)]) == (0, models)


def test_what_goes_to_stderr(xtlray: Xtlray, library: Store) -> None:
    assert "no model fits" in xtlray("models", "search", "zirconium")[2]
    assert "without --max-mae 0.1: 2 versions" in xtlray("models", "search", "--property", "gap", "--max-mae", "0.1")[2]
    assert "1 of 3 are shown" in xtlray("models", "search", "--limit", "1")[2]
    assert xtlray("models", "search", "--limit", "1", "--quiet")[2] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--property", "gup"], "Allowed: user/gap."),
        (["--sort", "size"], "val_mae"),
        (["--max-mae", "nan"], "no bound"),
        (["--max-mae", "-1"], "no bound"),
        (["--max-mae", "low"], "--max-mae"),
        (["--min-rows", "-1"], "--min-rows"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_wrong_requests(xtlray: Xtlray, library: Store, words: list[str], said: str) -> None:
    code, out, err = xtlray("models", "search", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("properties", "property", {"user/gap": 2, "user/tc": 1}),
        ("inputs", "input", {"elemental_fractions": 4}),
        ("descriptors", "descriptors", {"elemental_fractions": 4}),
        ("nets", "net", {"elemnet": 3, "deepsets": 1}),
    ],
)
def test_listings(xtlray: Xtlray, library: Store, name: str, column: str, expected: dict[str, int]) -> None:
    code, out, _ = xtlray("models", name, "--json")
    assert code == 0
    assert {r[column]: r["versions"] for r in json.loads(out) if not r[column].startswith("oqmd/")} == expected
    assert xtlray("models", name)[1].splitlines()[0].split()[0] == column


def test_the_history_of_a_training(xtlray: Xtlray, library: Store) -> None:
    assert json.loads(xtlray("models", "history", "user/gap@1", "--json")[1]) == [
        {"epoch": 1, "loss": 0.9, "val": 0.5, "vals": [0.5]}
    ]
    _, out, _ = xtlray("models", "history", "user/gap@1")
    assert out.splitlines()[0] == "user/gap@1: band gap, eV"
    assert ["epoch", "loss", "val"] in [line.split() for line in out.splitlines()]
    assert "tells nothing of its training" in xtlray("models", "history", "user/gap@2")[2]
    assert xtlray("models", "history", "user/gup")[0] == 2


def test_the_environment_of_a_model(xtlray: Xtlray, library: Store) -> None:
    made: dict[str, Any] = json.loads(xtlray("models", "environment", "user/gap@2", "--json")[1])
    assert (made["hardware"], made["versions"]) == ("a computer", {"numpy": "1.0"})
    _, out, _ = xtlray("models", "environment", "user/gap@2")
    assert "a computer" in out
    (line,) = (line.split() for line in out.splitlines() if line.split()[:1] == ["numpy"])
    assert (line[1], line[3]) == ("1.0", "no")
    _, out, _ = xtlray("models", "environment", "user/gap@2", "--format", "md")
    assert [part.splitlines()[0] for part in out.split("\n\n")] == [
        "| name | value |",
        "| library | made with | here | same |",
    ]


def test_the_index(xtlray: Xtlray, library: Store) -> None:
    before = json.loads(xtlray("models", "index", "--json")[1])
    assert (before["manifest"], before["rows"], before["marks_new"]) == (1, 0, 3)
    merged = json.loads(xtlray("models", "index", "--compact", "--json")[1])
    assert (merged["merged"], merged["rows"], merged["marks_new"], merged["deleted_keys"]) == (True, 3, 0, 0)
    assert xtlray("models", "index", "--compact", "--rebuild")[0] == 2


def test_a_damaged_index_and_what_mends_it(xtlray: Xtlray, library: Store) -> None:
    library.create(manifests.manifest_key(9), b"{")
    code, out, err = xtlray("models", "search")
    assert (code, out) == (1, "")
    assert "index of the library is damaged" in err
    assert "xtlray models index --rebuild" in err
    library.create(index.card_key(("bad", 1)), b"{}")
    code, out, err = xtlray("models", "index", "--rebuild", "--json")
    assert code == 0
    assert "card of bad@1 cannot be read" in err
    made = json.loads(out)
    assert (made["versions"], made["unreadable"], made["complete"]) == (4, ["bad@1"], True)
    code, out, err = xtlray("models", "search", "user", "--json")
    assert (code, len(json.loads(out))) == (0, 2)
    assert "cannot be read: bad@1" in err


def test_a_library_without_an_index(xtlray: Xtlray, store: Store) -> None:
    assert json.loads(xtlray("models", "index", "--json")[1]) == {"manifest": 0, "complete": False}
    _, out, _ = xtlray("models", "search", "--json")
    assert [row["model"] for row in json.loads(out)] == ["builtin/oqmd@1"]
    assert store.list("") == []
