"""A sweep as metrics that Ray exports to Prometheus: its trials, their time, and the best errors so far.

A run has one series for each of its methods, of which there are a dozen, and one for each of its first
`MOST_TARGETS` targets; a source, a configuration or a seed is never a label. All are of the process that drives the
sweep, and end with it.
"""

from __future__ import annotations

import logging
from typing import Any

import ray
from ray.util.metrics import Gauge, Histogram

log = logging.getLogger("xtlray.transfer")
PREFIX = "xtlray_transfer_"  # before which Ray puts `ray_`
MOST_TARGETS = 500
SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]  # bounds of the histogram's buckets

# Name → what it is, and its labels beside the run.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "trials_planned": ("Trials that the sweep has if none fails", ()),
    "trials_done": ("Trials that have ended well, those of earlier attempts included", ("method",)),
    "trials_failed": ("Trials that have failed, those of earlier attempts included", ("method",)),
    "trials_running": ("Trials at work", ("method",)),
    "rows_per_second": ("Training rows a second of the newest trial of a method", ("method",)),
    "best_val_error": ("Lowest validation MAE of a trial of a target so far, in its unit", ("target",)),
}
TRIAL_SECONDS = "trial_seconds"


class Gauges:
    """Keeps the values, and tells Ray of them while it is up; whatever goes wrong with that never ends a sweep."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.values: dict[tuple[str, tuple[str, ...]], float] = {}  # by name and labels
        self._targets: set[str] = set()
        self._metrics: dict[str, Any] | None = None  # once Ray is up
        self._off = False

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge of `GAUGES`; `labels` are those that it has beside the run, in their order."""
        if name == "best_val_error" and not self._has_room_for(*labels):
            return
        self.values[name, labels] = value
        self._guarded(lambda metrics: metrics[name].set(value, self._tags(name, labels)))

    def took(self, method: str, seconds: float) -> None:
        """A trial of that method has just ended after so long."""
        tags = {"run": self.run, "method": method}
        self._guarded(lambda metrics: metrics[TRIAL_SECONDS].observe(seconds, tags))

    def _has_room_for(self, target: str) -> bool:
        if target not in self._targets and len(self._targets) == MOST_TARGETS:
            return False
        self._targets.add(target)
        if len(self._targets) == MOST_TARGETS:
            log.debug("metrics have the best errors of the first %d targets only", MOST_TARGETS)
        return True

    def _tags(self, name: str, labels: tuple[str, ...]) -> dict[str, str]:
        return {"run": self.run, **dict(zip(GAUGES[name][1], labels, strict=True))}

    def _guarded(self, tell: Any) -> None:
        if self._off:
            return
        try:
            if not ray.is_initialized():
                return  # what was found before is told as soon as it is
            if self._metrics is None:
                self._metrics = _metrics()
                for (name, labels), value in self.values.items():
                    self._metrics[name].set(value, self._tags(name, labels))
            tell(self._metrics)
        except Exception as error:
            self._off = True
            log.info("metrics of this sweep are not told any more: %s: %s", type(error).__name__, error)


def _metrics() -> dict[str, Any]:
    found: dict[str, Any] = {
        name: Gauge(PREFIX + name, text, ("run", *labels)) for name, (text, labels) in GAUGES.items()
    }
    what = "Seconds that a trial took, of those that this attempt ran"
    found[TRIAL_SECONDS] = Histogram(PREFIX + TRIAL_SECONDS, what, SECONDS, ("run", "method"))
    return found
