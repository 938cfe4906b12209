"""A sweep as it goes: its trials counted, and told to people, to the attempt's notes and to Ray's metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from xtlray.progress import Progress
from xtlray.records import TrialRecord
from xtlray.transfer.gauges import Gauges
from xtlray.transfer.pace import Pace
from xtlray.transfer.plan import TrialSpec

Say = Callable[[str], None]


class Tally:
    """Counts each record as it comes, with the time that is left if it goes on like this.

    Args:
        total: trials of the whole sweep if none fails.
        say: told of each new record.
        progress: of the attempt.
        gauges: of the run.
        pace: of the sweep.
    """

    def __init__(self, total: int, say: Say, progress: Progress, gauges: Gauges, pace: Pace) -> None:
        self.total, self.say, self.progress, self.gauges, self.pace = total, say, progress, gauges, pace
        self.done = 0
        self._stage_done, self._stage_failed = 0, 0
        self._method: dict[str, str] = {}  # by trial
        self._running: set[str] = set()
        self._at_work: Counter[str] = Counter()  # by method
        self._ended: Counter[tuple[str, str]] = Counter()  # by gauge and method
        self._best: dict[str, float] = {}  # by target
        gauges.set("trials_planned", total)

    def begin(self, stage: str, specs: Iterable[TrialSpec]) -> None:
        """A stage begins, of these trials."""
        specs = list(specs)
        self._stage_done, self._stage_failed = 0, 0
        self.progress.begin(stage, "trials", len(specs))
        self.pace.begin(specs)
        for spec in specs:
            self._method[spec.id] = spec.arm.method
        for method in sorted({spec.arm.method for spec in specs}):  # a zero is not nothing
            for name in ("trials_done", "trials_failed"):
                self.gauges.set(name, self._ended[name, method], method)
            self.gauges.set("trials_running", 0, method)

    def running(self, trial: str, is_running: bool) -> None:
        """A trial is at work now, or is not any more."""
        if (trial in self._running) == is_running:
            return
        (self._running.add if is_running else self._running.discard)(trial)
        method = self._method[trial]
        self._at_work[method] += 1 if is_running else -1
        self.gauges.set("trials_running", self._at_work[method], method)

    def tell(self, record: TrialRecord, fresh: bool) -> None:
        """A record has come; one that is not fresh was there already."""
        self.done += 1
        self._stage_done += 1
        now = time.monotonic()
        self.pace.ended(record, fresh, now)
        left = self.pace.left_s(now)
        if record.status == "failed":
            self._stage_failed += 1
            self.progress.fail(f"{record.trial}: {record.error}")
        self.progress.tell(done=self._stage_done, failed=self._stage_failed, left_s=left)
        self._measure(record, fresh)
        if fresh:
            self._say(record, left)

    def _measure(self, record: TrialRecord, fresh: bool) -> None:
        name = "trials_failed" if record.status == "failed" else "trials_done"
        self._ended[name, record.method] += 1
        self.gauges.set(name, self._ended[name, record.method], record.method)
        if fresh:
            self.gauges.took(record.method, record.seconds)
        if record.status == "ok" and record.seconds > 0:
            passes = max(1, len(record.history))  # a net's epochs
            self.gauges.set("rows_per_second", record.rows_train * passes / record.seconds, record.method)
        if record.val_mae is not None and record.val_mae < self._best.get(record.target, float("inf")):
            self._best[record.target] = record.val_mae
            self.gauges.set("best_val_error", record.val_mae, record.target)

    def _say(self, record: TrialRecord, left: float | None) -> None:
        source = f" from {record.source}" if record.source else ""
        about = "" if left is None else f"; about {left / 60:.0f} min left"
        outcome = f"validation MAE {record.val_mae:.4g}" if record.status == "ok" else f"failed: {record.error}"
        self.say(
            f"trial {self.done}/{self.total} {record.target} {record.method}{source} seed {record.seed}: {outcome}"
            f" ({record.seconds:.1f} s{about})"
        )
