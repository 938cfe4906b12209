"""Learning curves as a picture."""

from __future__ import annotations

from xml.etree import ElementTree

from xtlray.report.curve import curve_plot


def point(target: str, method: str, rows: int) -> dict[str, object]:
    figures = {"test_mae": 10.0 / rows, "test_mae_spread": 0.01}
    return {"target": target, "method": method, "source": None, "unit": "eV", "rows": rows, **figures}


def test_no_points_no_picture() -> None:
    assert curve_plot([]) is None


def test_a_panel_per_target_and_a_line_per_method() -> None:
    points = [point(t, m, rows) for t in ("a/gap", "a/$x") for m in ("base", "tl-finetune") for rows in (20, 200)]
    picture = curve_plot(points)
    assert picture is not None
    root = ElementTree.fromstring(picture)
    panels = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("id", "").startswith("axes_")]
    assert len(panels) == 2
    assert "test MAE (eV)" in picture
    assert "tl-finetune" in picture
