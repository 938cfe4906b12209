"""Chosen models beside published figures, as a picture."""

from __future__ import annotations

from xml.etree import ElementTree

from xtlray.report.published import published_plot


def row(target: str, mae: float) -> dict[str, object]:
    return {"target": target, "test_mae": mae, "best_transfer": 1.0, "best_scratch": 2.0, "ratio": mae / 1.0}


def test_no_rows_no_picture() -> None:
    assert published_plot([]) is None


def test_a_line_per_target_and_the_three_figures_of_it() -> None:
    picture = published_plot([row("a/gap", 0.8), row("a/modulus", 1.2)])
    assert picture is not None
    ElementTree.fromstring(picture)
    assert picture.count("<!-- a/") == 2
    assert "chosen here by validation" in picture
