"""How long the rest of a sweep takes, by what its trials have taken so far.

A trial of the second rung costs several times one of the first, that of a large target often more than that of a small
one, and one method a thousand times another. So seconds are counted by method, and for each visit of a row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from xtlray.records import TrialRecord
from xtlray.transfer.budget import Config, first_rung, members_for, rows_of_first_rung
from xtlray.transfer.plan import COMPARE, KEEP, Facts, TrialSpec, group_by_arm
from xtlray.transfer.settings import TransferSettings

OVERHEAD_S = 0.2  # about what Tune takes for a trial, however short that is


class Pace:
    """Counts what is left to do and what it takes.

    Args:
        settings: of the job.
        facts: by target.
    """

    def __init__(self, settings: TransferSettings, facts: Mapping[str, Facts]) -> None:
        self.settings, self.facts = settings, facts
        self._left: Counter[str] = Counter()  # visits by method, of trials that have not ended
        self._done: Counter[str] = Counter()  # visits by method, of those that have
        self._seconds: defaultdict[str, float] = defaultdict(float)  # that these took
        self._fresh = 0.0  # seconds of trials that have run in this attempt
        self._began = 0.0  # when the first of these did

    def begin(self, specs: Iterable[TrialSpec]) -> None:
        """What is left are these trials, and the second rung of those of the first."""
        self._left.clear()
        for arm, some in group_by_arm(specs).items():
            rows = self.facts[arm.target].rows
            self._left[arm.method] += sum(visits(spec.config, spec.rung, rows) for spec in some)
            if some[0].rung == COMPARE:  # which configuration is kept nobody knows yet: they cost much the same
                members = members_for(self.settings.effort, rows, self.settings.seeds)
                self._left[arm.method] += members * visits(some[0].config, KEEP, rows)

    def ended(self, record: TrialRecord, fresh: bool, now: float) -> None:
        """A trial has ended, `fresh` if it has run in this attempt, just `now` (s, of any clock)."""
        cost = visits(record.config, record.rung, self.facts[record.target].rows)
        self._left[record.method] = max(0, self._left[record.method] - cost)
        if not record.seconds:  # its process died
            return
        seconds = record.seconds + OVERHEAD_S
        self._done[record.method] += cost
        self._seconds[record.method] += seconds
        if fresh:
            self._began = self._began if self._fresh else now - seconds
            self._fresh += seconds

    def left_s(self, now: float) -> float | None:
        """Seconds that are left; None where nothing has run in this attempt yet."""
        if not self._fresh:
            return None
        of_any = sum(self._seconds.values()) / self._done.total()
        work = sum(
            cost * (self._seconds[method] / self._done[method] if self._done[method] else of_any)
            for method, cost in self._left.items()
        )
        at_once = max(1.0, self._fresh / max(now - self._began, OVERHEAD_S))
        return work / at_once


def visits(config: Config, rung: int, rows: int) -> int:
    """How often a row is visited in a trial of that configuration and rung, on a target with so many."""
    if rung == COMPARE:
        config, rows = first_rung(config), rows_of_first_rung(config, rows)
    return max(1, rows) * config.get("epochs", 1)
