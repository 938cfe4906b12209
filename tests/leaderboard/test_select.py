"""Which results are shown, in which order; unknown names get the nearest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.leaderboard.test_fold import result
from xtlray.errors import UnknownNameError
from xtlray.leaderboard.select import ordered, select

RESULTS = [
    result("a/gap", "tl-finetune", source="oqmd@2"),
    result("a/gap", "tl-freeze", source="oqmd@1+other/net@3"),
    result("b/gap", "sc-dl-ef"),
    result("b/gap", "tl-finetune", None, source="other/net@3"),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"target": "a/*"}, [0, 1]),
        ({"method": "tl-finetune"}, [0, 3]),
        ({"method": "tl-*", "target": "a/gap"}, [0, 1]),
        ({"source": "oqmd"}, [0, 1]),
        ({"source": "oqmd@1"}, [1]),
        ({"source": "oqmd@1+other/net@3"}, [1]),
        ({"source": "other/net@3"}, [1, 3]),
        ({"source": "other/*"}, [1, 3]),
        ({"source": "scratch"}, [2]),
        ({"status": "failed"}, [3]),
        ({"status": "ok", "method": "tl-*"}, [0, 1]),
        ({"status": "failed", "target": "a/gap"}, []),
    ],
)
def test_what_matches_all_that_is_asked(wanted: dict[str, str], expected: list[int]) -> None:
    assert select(RESULTS, **wanted) == [RESULTS[i] for i in expected]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"method": "tl-finetun"}, "no method of that name.*tl-finetune"),
        ({"source": "oqdm"}, "no source of that name.*oqmd"),
        ({"target": "a/gaps"}, "no target of that name.*a/gap"),
        ({"target": "a/gap", "method": "sc-dl-ef"}, "no method of that name.*tl-finetune, tl-freeze"),
    ],
)
def test_unknown_names(wanted: dict[str, str], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        select(RESULTS, **wanted)


def test_an_empty_board_has_no_unknown_methods() -> None:
    assert select([], method="x", source="y", status="ok") == []


@pytest.mark.parametrize(
    ("column", "reverse", "expected"),
    [
        (None, False, [3.0, None, 1.0, 2.0]),
        (None, True, [2.0, 1.0, None, 3.0]),
        ("val_mae", False, [1.0, 2.0, 3.0, None]),
        ("val-mae", True, [3.0, 2.0, 1.0, None]),  # what is missing is last either way
    ],
)
def test_order(column: str | None, reverse: bool, expected: list[Any]) -> None:
    rows = [result(val_mae=value) for value in (3.0, None, 1.0, 2.0)]
    assert [row.val_mae for row in ordered(rows, column, reverse, ["target", "val_mae"], getattr)] == expected


def test_rows_that_are_alike_stay_as_they_were() -> None:
    rows = [{"a": 1, "b": n} for n in (2, 1, 3)]
    assert ordered(rows, "a", False, ["a", "b"], dict.get) == rows
    assert ordered(rows, "a", True, ["a", "b"], dict.get) == rows


def test_an_unknown_column() -> None:
    with pytest.raises(UnknownNameError, match=r"no column of that name.*'test_mea'.*test_mae"):
        ordered([result()], "test_mea", False, ["test_mae", "target"], getattr)
