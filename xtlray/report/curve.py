"""Learning curves as a picture: test error by training rows, a panel per target, a line per method."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from xtlray.report.plots import style


def curve_plot(points: Sequence[Mapping[str, Any]]) -> str | None:
    """The points of learning curves as SVG text; None where there are none.

    Args:
        points: each with `target, method, source, unit, rows, test_mae, test_mae_spread`.
    """
    if not points:
        return None
    import matplotlib

    matplotlib.use("svg", force=False)
    from matplotlib.figure import Figure

    targets = sorted({point["target"] for point in points})
    lines = sorted({(point["method"], point["source"] or "") for point in points})
    figure = Figure(figsize=(7.0, 3.2 * len(targets) + 0.6), layout="constrained")
    for place, target in enumerate(targets):
        axes = figure.add_subplot(len(targets), 1, place + 1)
        unit = next(point["unit"] for point in points if point["target"] == target)
        for n, (method, source) in enumerate(lines):
            mine = [p for p in points if (p["target"], p["method"], p["source"] or "") == (target, method, source)]
            mine.sort(key=lambda point: point["rows"])
            colour, shape = style(n)
            axes.errorbar(
                [point["rows"] for point in mine],
                [point["test_mae"] for point in mine],
                [point["test_mae_spread"] for point in mine],
                color=colour,
                marker=shape,
                markersize=4,
                capsize=2,
                label=f"{method} ({source})" if source else method,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.set_title(target, fontsize=10, parse_math=False)
        axes.set_ylabel(f"test MAE ({unit})" if unit else "test MAE", parse_math=False)
    figure.axes[-1].set_xlabel("training rows")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
