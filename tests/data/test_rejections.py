"""Rejected rows: counted by kind, refused above one in a hundred, each written down."""

import csv
import io

import pytest

from xtlray.data.rejections import Rejections
from xtlray.errors import RequestError
from xtlray.records import SourceFile

FORMULAS = {1: "Xx is not an element (nearest: Xe)", 4: "formula missing", 6: "the formula is empty"}
TARGETS = {1: "target missing", 2: "target missing", 9: "target infinite"}


def test_a_row_has_one_reason():
    rejections = Rejections.of(10, FORMULAS, TARGETS)
    assert len(rejections) == 5
    assert rejections.kept().tolist() == [0, 3, 5, 7, 8]
    assert [(r.reason, r.count, r.first_rows) for r in rejections.summary()] == [
        ("formula cannot be parsed", 2, [2, 7]),
        ("formula missing", 1, [5]),
        ("target infinite", 1, [10]),
        ("target missing", 1, [3]),
    ]


def test_the_first_five_rows_are_named():
    summary = Rejections.of(100, {}, dict.fromkeys(range(40, 60), "target missing")).summary()
    assert (summary[0].count, summary[0].first_rows) == (20, [41, 42, 43, 44, 45])


def test_one_in_a_hundred_is_the_limit():
    Rejections.of(300, {}, dict.fromkeys(range(3), "target missing")).check("a/b", allowed=False)
    four = Rejections.of(300, {}, dict.fromkeys(range(4), "target missing"))
    with pytest.raises(
        RequestError, match=r"4 of the 300 rows of a/b.*target missing: 4 \(rows 1, 2, 3, 4\).*1%.*--allow-rejected"
    ):
        four.check("a/b", allowed=False)
    four.check("a/b", allowed=True)


def test_the_message_says_what_is_wrong_with_the_first_formula():
    with pytest.raises(RequestError, match=r"cannot be parsed: 2 \(rows 2, 7: Xx is not an element \(nearest: Xe\)\)"):
        Rejections.of(10, FORMULAS, TARGETS).check("a/b", allowed=False)


@pytest.mark.parametrize(("rows", "got"), [(2, "target missing: 2"), (0, "no rows at all")])
def test_nothing_left_is_refused_whatever_is_allowed(rows, got):
    with pytest.raises(RequestError, match=f"No row of a/b can be kept.*{got}"):
        Rejections.of(rows, {}, dict.fromkeys(range(rows), "target missing")).check("a/b", allowed=True)


def test_every_rejected_row_is_written_with_its_file():
    files = [SourceFile(name="train.csv", rows=3, sha256=""), SourceFile(name="test.csv", rows=7, sha256="")]
    formulas = [None if row == 4 else f"Fe{row}, O" for row in range(10)]
    name, data = Rejections.of(10, FORMULAS, TARGETS).as_csv(formulas, list(range(10)), files)
    assert list(csv.reader(io.StringIO(data.decode()))) == [
        ["row", "file", "formula", "target", "reason"],
        ["2", "train.csv", "Fe1, O", "1", "formula cannot be parsed: Xx is not an element (nearest: Xe)"],
        ["3", "train.csv", "Fe2, O", "2", "target missing"],
        ["5", "test.csv", "", "4", "formula missing"],
        ["7", "test.csv", "Fe6, O", "6", "formula cannot be parsed: the formula is empty"],
        ["10", "test.csv", "Fe9, O", "9", "target infinite"],
    ]
    assert name.startswith("rejected-")
    assert name.endswith(".csv")
