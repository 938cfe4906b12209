"""An epoch in one line for people."""

from __future__ import annotations

from typing import Any


def epoch_line(entry: dict[str, Any], epochs: int, scale: float, unit: str) -> str:
    """What an epoch came to.

    Args:
        entry: of the history; errors in scaled units.
        epochs: of the whole training.
        scale: of the first property, in `unit`.
        unit: of the first property.
    """
    val = "" if entry["val"] is None else f", validation MAE {entry['val'] * scale:.4g}"
    left = duration((epochs - entry["epoch"]) * entry["seconds"])
    return (
        f"epoch {entry['epoch']}/{epochs}: training MAE {entry['loss'] * scale:.4g}{val} {unit}".rstrip()
        + f" ({entry['rows'] / entry['seconds']:,.0f} rows/s, {left} left)"
    )


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
