"""`xtlray predict` and `models`, from the words typed to what is printed and the exit code."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests import tiny
from tests.cli.conftest import Said
from xtlray.registry.promotion import move_best
from xtlray.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two versions of the model user/gap, the first of which is best."""
    store = Store.open(str(tmp_path / "store"))
    data = tiny.dataset(store)
    best = tiny.model(store, data=data)
    tiny.model(store, run="run-00000002", data=data)
    move_best(store, best, 0.5, "s", "p")
    return store


# --- arguments -------------------------------------------------------------------------------------------------------


def test_formulas_as_json(xtlray: Callable[..., Said]) -> None:
    code, out, err = xtlray("predict", "user/gap@best", "LiO", "NaN", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [list(row) for row in rows] == [["formula", "value", "unit", "spread", "lower", "upper", "warning"]] * 2
    assert [row["formula"] for row in rows] == ["LiO", "NaN"]
    assert all(isinstance(row["value"], float) and row["unit"] == "eV" for row in rows)
    assert [row["warning"] for row in rows] == [None, "no training row held N"]
    assert "user/gap@best is user/gap@1" in err


def test_good_formulas_are_answered_then_one_error_tells_of_the_bad(xtlray: Callable[..., Said]) -> None:
    code, out, err = xtlray("predict", "user/gap@best", "LiO", "Na2O", "Xx2O")
    assert code == 2
    assert [line.split()[0] for line in out.splitlines() if "eV" in line] == ["LiO", "Na2O"]
    assert "Xx2O" not in out
    assert err.count("error:") == 1
    assert "1 of 3 formulas cannot be answered" in err
    assert "'Xx2O': Xx is not an element" in err
    assert "Traceback" not in err


def test_good_formulas_before_an_error_are_whole_json(xtlray: Callable[..., Said]) -> None:
    code, out, _ = xtlray("predict", "user/gap@best", "HeO", "LiO", "", "--json")
    assert code == 2
    assert [row["formula"] for row in json.loads(out)] == ["LiO"]
    code, out, _ = xtlray("predict", "user/gap@best", "Xx", "--json")
    assert (code, json.loads(out)) == (2, [])


def test_the_latest_is_announced_and_a_version_is_not(xtlray: Callable[..., Said]) -> None:
    assert "user/gap is user/gap@2" in xtlray("predict", "user/gap", "LiO")[2]
    assert "is user/gap" not in xtlray("predict", "user/gap@1", "LiO")[2]
    assert xtlray("predict", "user/gap", "LiO", "--quiet")[2] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["user/gop", "LiO"], "no model of that name.*user/gap"),
        (["user/gap@9", "LiO"], "no such version"),
        (["user/gap"], "Got: neither"),
        (["user/gap", "LiO", "--input", "x.csv"], "Got: both"),
        (["user/gap", "LiO", "--output", "x.csv"], "--output goes with --input"),
        (["user/gap", "--input", "nothing.csv"], "no such file"),
        ([], "MODEL"),
    ],
)
def test_wrong_requests(xtlray: Callable[..., Said], words: list[str], message: str) -> None:
    code, out, err = xtlray("predict", *words)
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert "Traceback" not in err


def test_an_altered_model_is_refused(xtlray: Callable[..., Said], store: Store) -> None:
    key = "models/user/gap/1/weights.safetensors"
    data = store.get(key)
    store.delete([key])
    store.create(key, data[:-1] + bytes([data[-1] ^ 1]))
    for words in (["predict", "user/gap@1", "LiO"], ["models", "verify", "user/gap@1"]):
        code, out, err = xtlray(*words)
        assert (code, out) == (1, "")
        assert "not the one that was published" in err


# --- files -----------------------------------------------------------------------------------------------------------

ROWS = [("007", "LiO", "a"), ("NA", "NaN", ""), ("3", "Xx2O", "c,d"), ("4", "", "e"), ("5", "Fe2O3", "f")]


def table(path: Path) -> Path:
    frame = pd.DataFrame(ROWS, columns=["id", "formula", "note"])
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_a_file_in_a_file_out(xtlray: Callable[..., Said], tmp_path: Path, source: str, output: str) -> None:
    path = tmp_path / output
    code, out, err = xtlray("predict", "user/gap@1", "--input", table(tmp_path / source), "--output", path)
    assert (code, out) == (0, "")
    assert "2 of 5 formulas could not be answered" in err
    if path.suffix == ".parquet":
        rows = json.loads(pd.read_parquet(path).to_json(orient="records"))
    else:
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(row["id"], row["formula"], row["note"]) for row in rows] == ROWS
    assert list(rows[0]) == ["formula", "value", "unit", "spread", "lower", "upper", "warning", "id", "note"]
    assert [row["value"] in ("", None) for row in rows] == [False, False, True, True, False]
    assert [row["spread"] in ("", None) for row in rows] == [False, False, True, True, False]
    assert "Xx is not an element" in rows[2]["warning"]
    assert "empty" in rows[3]["warning"]
    assert "N" in rows[1]["warning"]
    assert {row["unit"] for row in rows} == {"eV"}


def test_a_file_in_and_rows_on_stdout(xtlray: Callable[..., Said], tmp_path: Path) -> None:
    code, out, err = xtlray("predict", "user/gap@1", "--input", table(tmp_path / "in.csv"), "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["formula"] for row in rows] == [formula for _, formula, _ in ROWS]
    assert [row["value"] is None for row in rows] == [False, False, True, True, False]
    assert "2 of 5" in err
    alone = json.loads(xtlray("predict", "user/gap@1", "LiO", "--json")[1])
    assert rows[0]["value"] == pytest.approx(alone[0]["value"], rel=1e-6)


@pytest.mark.parametrize(
    ("output", "message"),
    [("in.csv", "would overwrite the input"), ("out.txt", "kind is not known"), ("no/out.csv", "no such folder")],
)
def test_outputs_that_are_refused(xtlray: Callable[..., Said], tmp_path: Path, output: str, message: str) -> None:
    source = table(tmp_path / "in.csv")
    before = source.read_bytes()
    code, out, err = xtlray("predict", "user/gap@1", "--input", source, "--output", tmp_path / output)
    assert (code, out) == (2, "")
    assert message in err
    assert source.read_bytes() == before


# --- models ----------------------------------------------------------------------------------------------------------


def test_the_models_there_are(xtlray: Callable[..., Said]) -> None:
    code, out, _ = xtlray("models", "list", "--json")
    assert code == 0
    ours = [row for row in json.loads(out) if not row["model"].startswith("builtin/")]
    assert [(row["model"], row["aliases"], row["val_mae"]) for row in ours] == [
        ("user/gap@1", ["best"], 0.5),
        ("user/gap@2", [], 0.5),
    ]
    assert "user/gap@1" in xtlray("models", "list")[1]


def test_an_empty_library_holds_what_the_package_brings(xtlray: Callable[..., Said], tmp_path: Path) -> None:
    empty = ("--store", tmp_path / "empty")
    code, out, _ = xtlray("models", "list", "--json", *empty)
    assert code == 0
    assert [row["model"] for row in json.loads(out)] == ["builtin/oqmd@1"]  # what the package brings


def test_a_card(xtlray: Callable[..., Said]) -> None:
    code, out, _ = xtlray("models", "show", "user/gap@best", "--json")
    card = json.loads(out)
    assert code == 0
    assert (card["name"], card["version"], card["unit"]) == ("user/gap", 1, "eV")
    assert card["aliases"]["best"][0]["version"] == 1
    assert len(card["elements_encoded"]) == 86
    code, out, _ = xtlray("models", "show", "user/gap@1")
    assert code == 0
    assert "name: user/gap" in out


def test_verifying(xtlray: Callable[..., Said]) -> None:
    code, out, _ = xtlray("models", "verify", "user/gap", "--json")
    assert code == 0
    assert json.loads(out)["status"] == "ok"
    code, out, err = xtlray("models", "verify", "user/gab")
    assert (code, out) == (2, "")
    assert "user/gap" in err


# --- models of several properties ------------------------------------------------------------------------------------


@pytest.fixture
def both(store: Store) -> Store:
    """In the same store, a model of two properties."""
    tiny.model(store, "both", data=[tiny.dataset(store), tiny.dataset(store, "other/modulus", unit="GPa")])
    return store


def test_a_property_is_picked(xtlray: Callable[..., Said], both: Store) -> None:
    values = {}
    for wanted, unit in (("gap", "eV"), ("user/gap", "eV"), ("modulus", "GPa"), ("other/modulus", "GPa")):
        code, out, err = xtlray("predict", "both@1", "LiO", "--property", wanted, "--json")
        (row,) = json.loads(out)
        assert (code, row["unit"], err) == (0, unit, "")
        values[wanted] = row["value"]
    assert values["gap"] == values["user/gap"]
    assert values["modulus"] == values["other/modulus"] > 2 * values["gap"]


def test_without_a_property_the_first_is_answered_and_named(xtlray: Callable[..., Said], both: Store) -> None:
    code, out, err = xtlray("predict", "both@1", "LiO", "Na2O", "--json")
    assert (code, [row["unit"] for row in json.loads(out)]) == (0, ["eV", "eV"])
    assert err == "xtlray: warning: both@1 answers for user/gap; name another property for other/modulus\n"


def test_a_property_that_the_model_lacks(xtlray: Callable[..., Said], both: Store) -> None:
    code, out, err = xtlray("predict", "both@1", "LiO", "--property", "modulos")
    assert (code, out) == (2, "")
    assert re.search("no property of both@1.*other/modulus", err)
    code, out, err = xtlray("predict", "user/gap@1", "LiO", "--property", "modulus")
    assert (code, out) == (2, "")
    assert "user/gap" in err


def test_a_file_of_another_property(xtlray: Callable[..., Said], both: Store, tmp_path: Path) -> None:
    words = ("predict", "both@1", "--input", table(tmp_path / "in.csv"), "--property", "modulus")
    code, _, _ = xtlray(*words, "--output", tmp_path / "out.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert (code, {row["unit"] for row in rows}) == (0, {"GPa"})


def test_the_listing_says_that_there_are_more(xtlray: Callable[..., Said], both: Store) -> None:
    lines = xtlray("models", "list")[1].splitlines()
    (line,) = [line for line in lines if "both@1" in line]
    assert "user/gap +1" in line
    assert all("+1" not in other for other in lines if other != line)
    rows = {row["model"]: row for row in json.loads(xtlray("models", "list", "--json")[1])}
    assert rows["both@1"]["property"] == rows["user/gap@1"]["property"] == "user/gap"
    assert rows["both@1"]["properties"] == ["user/gap", "other/modulus"]


def test_a_card_shows_the_errors_of_each_property(xtlray: Callable[..., Said], both: Store) -> None:
    shown = yaml.safe_load(xtlray("models", "show", "both@1")[1])
    assert [(one["name"], one["unit"], one["metrics"]["test"]) for one in shown["properties"]] == [
        ("user/gap", "eV", "MAE 0.6 eV on 8 rows"),
        ("other/modulus", "GPa", "MAE 6 GPa on 8 rows"),
    ]
    assert "properties" not in yaml.safe_load(xtlray("models", "show", "user/gap@1")[1])
