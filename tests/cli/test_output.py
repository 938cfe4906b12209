"""How answers are printed: JSON without NaN, CSV in full, tables in four digits and never cut."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtlray.cli.output import as_csv, as_json, as_markdown, as_table, cell, number, plain
from xtlray.records import SplitMetrics


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (np.float32("nan"), None),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, np.nan]), [1.0, None]),
        ((1, "a", None), [1, "a", None]),
        ({"train": np.int32(2)}, {"train": 2}),
        (Path("a/b"), "a/b"),
        (date(2026, 1, 2), "2026-01-02"),
        (
            SplitMetrics(rows=1, mae=0.5),
            {"schema_version": 1, "rows": 1, "mae": 0.5, "rmse": None, "r2": None, "mae_spread": None},
        ),
    ],
)
def test_plain(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert json.loads(as_json({"value": value})) == {"value": expected}


def test_what_a_parquet_file_may_hold_is_shown_as_text() -> None:
    assert plain(Decimal("1.50")) == "1.50"
    assert plain(b"SiO2") == "SiO2"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0643217, "0.06432"),
        (164705.4, "164700"),
        (12.0, "12"),
        (-94.123456, "-94.12"),
        (0.0, "0"),
        (99999.9, "100000"),
        (1.234e-7, "1.234e-07"),
        (1.234e9, "1.234e+09"),
    ],
)
def test_number(value: float, expected: str) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (float("nan"), ""),
        (True, "yes"),
        (164705, "164705"),
        ({"train": 80, "val": None}, "train 80, val "),
        (["a", 1.23456], "a, 1.235"),
    ],
)
def test_cell(value: Any, expected: str) -> None:
    assert cell(value) == expected


def test_csv_has_the_columns_first_then_the_rest_in_full_precision() -> None:
    rows = [{"b": 0.123456789, "a": "x,y", "c": {"n": 1}}, {"a": None, "b": float("nan")}]
    assert as_csv(rows, columns=["a"]) == 'a,b,c\n"x,y",0.123456789,"{""n"": 1}"\n,,'
    assert as_csv([], columns=["a", "b"]) == "a,b"


def test_a_table_shows_the_columns_by_their_headings() -> None:
    rows = [{"target": "jarvis/klu", "mae": 10.55321, "hidden": 1}, {"target": "[b]", "mae": None, "hidden": 2}]
    lines = as_table(rows, columns={"target": "Target", "mae": "MAE"}, title="Board").splitlines()
    assert lines[0] == "Board"
    assert [line.split() for line in lines if "─" not in line and line.strip()] == [
        ["Board"],
        ["Target", "MAE"],
        ["jarvis/klu", "10.55"],
        ["[b]"],  # not taken for markup
    ]


def test_a_wide_table_is_not_cut_where_there_is_no_terminal() -> None:
    row = {f"column{i}": "x" * 40 for i in range(30)}
    last = as_table([row]).splitlines()[-1]
    assert last.split() == ["x" * 40] * 30


def test_a_mapping_is_a_table_of_names_and_values() -> None:
    lines = as_table({"name": "oqmd/band_gap", "rows": 324414}).splitlines()
    assert [line.split() for line in lines if line.strip()] == [["name", "oqmd/band_gap"], ["rows", "324414"]]


@pytest.mark.parametrize(
    "value",
    [
        [{"a": 1, "b": None}, {"a": 0.1, "b": 'é, "x"\n'}],  # rows
        [{}, {"a": 1}],
        [{"a": [1, 2]}, {"a": 1}],
        [{"a": {"b": 1}}],
        [1, "a"],
        [],
        {"a": [{"b": 1}]},
        {},
    ],
)
def test_json_is_indented_alike_whatever_it_holds(value: Any) -> None:
    assert as_json(value) == json.dumps(value, indent=2, ensure_ascii=False)


def test_markdown_has_what_a_table_has() -> None:
    rows = [
        {"target": "jarvis/klu", "mae": 10.55321, "hidden": 1},
        {"target": "a|b <i>\n[c]\x1b", "mae": None, "hidden": 2},
    ]
    assert as_markdown(rows, columns={"target": "Target", "mae": "MAE"}, title="Board").splitlines() == [
        "Board",
        "",
        "| Target | MAE |",
        "| --- | ---: |",
        "| jarvis/klu | 10.55 |",
        "| a\\|b \\<i\\> \\[c\\] |  |",
    ]


def test_markdown_of_a_mapping() -> None:
    lines = as_markdown({"name": "oqmd/band_gap", "rows": 324414}).splitlines()
    assert lines == ["| name | value |", "| --- | --- |", "| name | oqmd/band_gap |", "| rows | 324414 |"]
