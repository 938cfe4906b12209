"""Tables of predictions: the user's own columns beside the answers, none lost, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xtlray.data.predictions import carry_through, check_output, write_table
from xtlray.data.read import Table
from xtlray.errors import RequestError

ANSWERS = [
    {"formula": "NaN", "value": 1.5, "unit": "eV", "spread": 0.25, "lower": 1.0, "upper": 2.0, "warning": None},
    {
        "formula": "Xx",
        "value": None,
        "unit": "eV",
        "spread": None,
        "lower": None,
        "upper": None,
        "warning": "no element",
    },
]


def table(**columns: list[Any]) -> Table:
    return Table(Path("t.csv"), columns, "")


def test_answers_come_first_and_other_columns_through() -> None:
    columns = carry_through(table(id=["007", "NA"], formula=["NaN", "Xx"], note=["", "b"]), ["NaN", "Xx"], ANSWERS)
    assert columns == {
        "formula": ["NaN", "Xx"],
        "value": [1.5, None],
        "unit": ["eV", "eV"],
        "spread": [0.25, None],
        "lower": [1.0, None],
        "upper": [2.0, None],
        "warning": [None, "no element"],
        "id": ["007", "NA"],
        "note": ["", "b"],
    }


def test_columns_named_like_answers_are_kept_too() -> None:
    mine = table(Composition=["NaN", "Xx"], value=["a", "b"], value_input=["c", "d"], unit=["e", "f"])
    columns = carry_through(mine, ["NaN", "Xx"], ANSWERS)
    assert list(columns)[:7] == ["formula", "value", "unit", "spread", "lower", "upper", "warning"]
    assert (columns["value_input_input"], columns["value_input"], columns["unit_input"]) == (
        ["a", "b"],
        ["c", "d"],
        ["e", "f"],
    )
    assert len(columns) == 10


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet", "OUT.CSV"])
def test_what_is_written_can_be_read(tmp_path: Path, name: str) -> None:
    columns = carry_through(table(id=["007", "NA"], formula=["NaN", "Xx"]), ["NaN", "Xx"], ANSWERS)
    write_table(columns, tmp_path / name)
    path = tmp_path / name
    found = (
        pd.read_parquet(path)
        if name.endswith("parquet")
        else pd.read_csv(path, dtype={"id": str, "formula": str}, keep_default_na=False, na_values={"value": [""]})
    )
    assert found["formula"].tolist() == ["NaN", "Xx"]
    assert found["id"].tolist() == ["007", "NA"]
    assert found["value"].isna().tolist() == [False, True]
    assert [float(found[name][0]) for name in ("value", "lower", "upper")] == [1.5, 1.0, 2.0]
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.xlsx", r"kind is not known.*\.csv, \.csv\.gz or \.parquet"),
        ("out", "kind is not known"),
        ("none/out.csv", "no such folder"),
        ("file/out.csv", "no such folder"),
        ("folder.csv", "cannot be written"),
    ],
)
def test_outputs_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(RequestError, match=message):
        write_table({"formula": ["a"]}, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.csv"}


def test_an_output_that_can_be(tmp_path: Path) -> None:
    assert check_output(tmp_path / "a.parquet") == tmp_path / "a.parquet"
