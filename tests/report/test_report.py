"""The leaderboard for people: a table, a picture, a page; nothing that a name could inject."""

from __future__ import annotations

from typing import Any

import pytest

from xtlray.records import ResultRecord
from xtlray.report.page import report_page
from xtlray.report.plots import error_plot, relative_errors, style
from xtlray.report.tables import BOARD, board_rows


def result(method: str, test_mae: float | None, target: str = "user/gap", **changes: Any) -> ResultRecord:
    fields = {
        "target": target,
        "unit": "eV",
        "method": method,
        "source": None,
        "seeds": 2,
        "rows_train": 80,
        "rows_val": 10,
        "rows_test": 11,
        "val_mae": 1.0,
        "test_mae": test_mae,
        "test_mae_spread": 0.1,
        "base_mae": 2.0,
        "ref_best_transfer": 0.5,
        "ref_best_scratch": None,
        "run": "r",
        "status": "ok",
        "seconds": 12.6,
        "commit": None,
    }
    return ResultRecord(**{**fields, **changes})


def test_rows_of_the_table() -> None:
    ok, failed = board_rows([result("a", 1.0, model="user/gap@1"), result("b", None, status="failed")])
    assert set(BOARD) <= set(ok)
    assert (ok["rows"], ok["seconds"], ok["model"]) == ("80/10/11", 13, "user/gap@1")
    assert failed["model"] == "failed"


def test_errors_are_relative_to_the_mean() -> None:
    rows = [result("base", 2.0), result("a", 1.0), result("a", 3.0), result("b", None), result("b", 4.0, "user/x")]
    assert relative_errors(rows) == {"a": {"user/gap": 0.5}, "b": {"user/x": 2.0}}
    assert relative_errors([result("a", 1.0, base_mae=0.0), result("a", 1.0, base_mae=None)]) == {}


def test_many_methods_are_told_apart() -> None:
    assert len({style(n) for n in range(42)}) == 42


def test_a_picture_of_nothing_is_none() -> None:
    assert error_plot([result("base", 2.0), result("a", None)], "t") is None


@pytest.mark.parametrize("name", ["user/gap", "user/<script>"])
def test_the_page_holds_all_and_injects_nothing(name: str) -> None:
    rows = [result("base", 2.0, name), result("tl-finetune", 1.25, name)]
    page = report_page("run-1", rows, {"commit": "a<b"}, "kind: transfer\n")
    assert page.count("<svg") == 1
    assert "tl-finetune" in page
    assert "1.25" in page
    assert "a&lt;b" in page
    assert "kind: transfer" in page
    assert "<script" not in page
    assert page.startswith("<!doctype html>")
    assert "No target has test rows" in report_page("run-1", [result("a", None)], {}, "")
