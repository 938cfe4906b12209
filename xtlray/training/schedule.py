"""Learning rates as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math


def one_cycle(step: int, total: int, peak: float, warmup: float = 0.15, final: float = 0.002) -> float:
    """Linear warm-up to `peak`, then a cosine down to `final × peak` (after Smith and Topin 2019, without momentum).

    Args:
        step: 0 … total-1.
        total: steps of the whole training.
        peak: the highest learning rate.
        warmup: share of the steps spent rising.
        final: the last learning rate over the peak.
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(1, total - rising)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
