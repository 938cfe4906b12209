"""The history as a picture."""

from __future__ import annotations

from xml.etree import ElementTree

from xtlray.report.history import history_plot


def entry(epoch: int, several: bool = False) -> dict[str, object]:
    first = {"epoch": epoch, "loss": 1.0 / epoch, "val": 2.0 / epoch}
    return {**first, "losses": [1.0 / epoch, None], "vals": [2.0 / epoch, 3.0]} if several else first


def test_no_epoch_no_picture() -> None:
    assert history_plot([], [("gap", "eV")]) is None


def test_a_panel_per_property_with_its_unit() -> None:
    picture = history_plot([entry(n, several=True) for n in (1, 2, 3)], [("band gap", "eV"), ("volume", None)])
    assert picture is not None
    root = ElementTree.fromstring(picture)
    panels = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("id", "").startswith("axes_")]
    assert len(panels) == 2
    assert "MAE (eV)" in picture
    assert picture.count("line2d") > 0


def test_one_epoch_without_validation() -> None:
    assert history_plot([{"epoch": 1, "loss": 0.5, "val": None}], [("gap", "eV")]) is not None


def test_words_are_not_taken_for_tex() -> None:
    picture = history_plot([entry(1)], [(r"price $\x_$", "$a$b_$/kg$")])
    assert picture is not None
