"""`xtlray data`, from the words typed to what is printed and the exit code."""

import gzip
import json

import pytest

from xtlray.cli.main import main

METALS = ("Li", "Be", "Na", "Mg", "Al", "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga")
FORMULAS = ["NaN", *(f"{metal}O" for metal in METALS), *(f"{metal}2S3" for metal in METALS)]


@pytest.fixture
def xtlray(tmp_path, capsys, monkeypatch):
    """Runs a command line on a store of its own; returns exit code, stdout and stderr."""
    monkeypatch.setenv("XTLRAY_STORE", str(tmp_path / "store"))

    def run(*words):
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def table(column, formulas=FORMULAS):
    return f"formula,{column}\n" + "".join(f"{text},{i / 4}\n" for i, text in enumerate(formulas))


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    for name, column in (("oqmd/band_gap", "band_gap"), ("jarvis/spillage.train", "spillage")):
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(table(column).encode()))
    return folder


def test_list_knows_all_before_anything_is_fetched(xtlray):
    code, out, _ = xtlray("data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert sum(not name.startswith("demo/") for name in rows) == 45
    klu = rows["jarvis/klu"]
    assert (klu["property"], klu["unit"]) == ("klu", "Å")
    assert [klu[key] for key in ("rows_read", "rows_kept", "rows_rejected", "splits")] == [None] * 4


def test_fetch_then_list_then_show(xtlray, mirror):
    code, out, err = xtlray("data", "fetch", "oqmd/band_gap", "jarvis/spill*", "--from", mirror, "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == ["oqmd/band_gap", "jarvis/spillage"]
    assert "1/2 oqmd/band_gap: 37 rows" in err

    _, out, err = xtlray("data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["oqmd/band_gap"]["rows_read"] == rows["oqmd/band_gap"]["rows_kept"] == 37
    assert list(rows["oqmd/band_gap"]["splits"]) == ["train", "val", "test"]
    assert sum(rows["oqmd/band_gap"]["splits"].values()) == 37
    assert rows["jarvis/spillage"]["splits"]["test"] == 0
    assert rows["jarvis/klu"]["splits"] is None
    assert "43 of" in err

    code, out, err = xtlray("data", "show", "jarvis/spillage")
    assert code == 0
    for text in ("number of band-inverted electrons", "0.373", "no published test file here", "doi:10.1038", "37 rows"):
        assert text in out
    assert err == ""


def test_show_what_is_not_fetched(xtlray):
    code, out, err = xtlray("data", "show", "jarvis/pem300k", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["rows_read"] is None
    assert shown["reference_mae"] == {"base": 1.918, "best_scratch": 1.086, "best_transfer": 1.228}
    assert "mislabelled" in shown["warning"]
    assert "xtlray data fetch jarvis/pem300k" in err


def test_ingest_a_file_of_ones_own(xtlray, tmp_path):
    text = table("gap") + "Xx2,1.0\nNaCl,much\n"
    (tmp_path / "mine.csv").write_text(text)
    words = ("data", "ingest", tmp_path / "mine.csv", "--name", "user/gap", "--unit", "eV")
    code, out, err = xtlray(*words)
    assert code == 2  # 2 of 39 rows are more than 1 %
    assert "allow-rejected" in err
    code, out, err = xtlray(*words, "--allow-rejected", "--json")
    row = json.loads(out)
    assert code == 0
    assert (row["rows_read"], row["rows_kept"], row["rows_rejected"], row["unit"]) == (39, 37, 2, "eV")
    assert "1 rejected" in err
    _, out, _ = xtlray("data", "show", "user/gap", "--json")
    shown = json.loads(out)
    assert [rejection["first_rows"] for rejection in shown["rejections"]] in ([[38], [39]], [[39], [38]])
    assert shown["rejected_file"].endswith(".csv")
    assert '"user/gap"' in xtlray("data", "list", "--json")[1]


def test_a_test_file_is_kept_as_one(xtlray, tmp_path):
    (tmp_path / "a.csv").write_text(table("gap"))
    (tmp_path / "b.csv").write_text(table("gap", ["NaCl", "KCl"]))
    words = ("--name", "user/gap", "--unit", "eV", "--test", tmp_path / "b.csv", "--json")
    code, out, _ = xtlray("data", "ingest", tmp_path / "a.csv", *words)
    assert code == 0
    assert json.loads(out)["splits"]["test"] == 2


def test_a_damaged_dataset_does_not_hide_the_others(xtlray, mirror, tmp_path):
    xtlray("data", "fetch", "oqmd/band_gap", "jarvis/spillage", "--from", mirror)
    (card,) = (tmp_path / "store" / "datasets" / "oqmd" / "band_gap").glob("*/card.json")
    card.write_text("{")
    code, out, _ = xtlray("data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert "not the JSON" in rows["oqmd/band_gap"]["problem"]
    assert rows["jarvis/spillage"]["rows_read"] == 37


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["show", "jarvis/kul"], 2, "jarvis/klu"),
        (["fetch", "jarvs/*"], 2, "There is no dataset of that name"),
        (["fetch", "jarvis/klu", "--from", "nowhere"], 2, "no place to fetch datasets from"),
        (["fetch", "jarvis/klu", "--from", "MIRROR"], 1, "The mirror lacks a file. Got: jarvis/klu.train.csv.gz"),
        (["fetch", "jarvis/k*", "--from", "MIRROR"], 1, "2 of 2 datasets could not be fetched"),
        (["ingest", "none.csv", "--name", "user/x", "--unit", "eV"], 2, "There is no such file"),
        (["ingest", "none.csv", "--name", "jarvis/x", "--unit", "eV"], 2, "belong to the program"),
        (["ingest", "none.csv", "--name", "user/x"], 2, "--unit"),
        (["fetch"], 2, "PATTERN"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(xtlray, mirror, words, code, message):
    found, out, err = xtlray("data", *[mirror if word == "MIRROR" else word for word in words])
    assert found == code
    assert message in err
    assert "Traceback" not in err
    assert out == ""
