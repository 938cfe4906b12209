"""The history of a training as a picture: errors by epoch, a panel per property."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any


def history_plot(history: Sequence[dict[str, Any]], properties: Sequence[tuple[str, str | None]]) -> str | None:
    """Training and validation MAE by epoch as SVG text; None where no epoch is finished.

    Args:
        history: entries in physical units: `loss` and `val`, of several properties `losses` and `vals`.
        properties: label and unit of each property.
    """
    if not history:
        return None
    import matplotlib

    matplotlib.use("svg", force=False)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 1.0 + 2.0 * len(properties)), layout="constrained")
    epochs = [entry["epoch"] for entry in history]
    for p, (label, unit) in enumerate(properties):
        axes = figure.add_subplot(len(properties), 1, p + 1)
        for key, keys, name in (("loss", "losses", "training"), ("val", "vals", "validation")):
            values = [entry[keys][p] if keys in entry else entry[key] for entry in history]
            shown = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value]
            if shown:
                axes.plot(*zip(*shown, strict=True), marker="." if len(epochs) < 30 else None, label=name)
                axes.set_yscale("log")
        # A user's words, not TeX: half a formula between two $ would end the run before its model is published.
        axes.set_title(label, fontsize=10, parse_math=False)
        axes.set_ylabel(f"MAE ({unit})" if unit else "MAE", parse_math=False)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8, frameon=False)
    figure.axes[-1].set_xlabel("epoch")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
