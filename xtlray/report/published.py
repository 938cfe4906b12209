"""Our models beside published figures as a picture: test errors over the lower of the two published ones."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from xtlray.report.plots import style


def published_plot(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """A dot plot as SVG text, the target that gained most on top; None for no rows.

    Args:
        rows: each with `target, test_mae, best_transfer, best_scratch, ratio`.
    """
    if not rows:
        return None
    import matplotlib

    matplotlib.use("svg", force=False)
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: -row["ratio"])
    places = range(len(ordered))
    figure = Figure(figsize=(7.5, 1.4 + 0.25 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(places, [row["target"] for row in ordered])
    axes.grid(axis="x", alpha=0.3)
    axes.axvline(1.0, color="0.5", linewidth=1)
    marks = (
        ("best_transfer", "best transfer, Gupta et al. 2021", "^"),
        ("best_scratch", "best from scratch, Gupta et al. 2021", "s"),
        ("test_mae", "chosen here by validation", "o"),
    )
    for n, (key, label, shape) in enumerate(reversed(marks)):
        ratios = [row[key] / min(row["best_transfer"], row["best_scratch"]) for row in ordered]
        size, colour = (46 if key == "test_mae" else 26), style(n)[0]
        axes.scatter(ratios, places, color=colour, marker=shape, s=size, label=label, zorder=3 - n)
    axes.set_xlabel("test MAE / lower of the two published ones (left of the line is better)")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
