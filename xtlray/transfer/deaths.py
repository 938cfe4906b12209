"""Trials whose process dies: they run again, a few times if it was their own doing, once more for each lost node."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from ray import tune

from xtlray.errors import StoreError
from xtlray.transfer.plan import TrialSpec

log = logging.getLogger("xtlray.transfer")
RETRIES = 2  # of a trial whose process died by itself; then it is recorded as failed
LOST_AFTER = 20.0  # seconds after which Ray has noticed at the latest that a node has gone

# Trials, a name for Ray's scratch folder, how often one is tried again → errors of those given up, by trial id.
TuneTrials = Callable[[Sequence[TrialSpec], str, int], dict[str, str]]


class Deaths(tune.Callback):
    """Counts, by trial id, how often Tune has seen a trial fail: its process died, or it could not leave a record."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.counts[trial.config["trial"]] += 1

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.counts[trial.config["trial"]] += 1

    def none_missed(self, trials: Iterable[str], least: int) -> None:
        """These were given up `least` times: what never ran at all would else run again for ever."""
        for trial in trials:
            self.counts[trial] = max(self.counts[trial], least)

    def __getitem__(self, trial: str) -> int:
        return self.counts[trial]


class Nodes:
    """The nodes that a cluster loses from now on. Ray notices some seconds after one has gone.

    Args:
        nodes: as `ray.nodes`.
    """

    def __init__(self, nodes: Callable[[], list[dict[str, Any]]]) -> None:
        self.nodes = nodes
        self.gone_before = self._gone()

    def lost(self) -> int:
        """How many there are so far."""
        return len(self._gone() - self.gone_before)

    def await_loss(self, seconds: float = LOST_AFTER, every: float = 0.5) -> int:
        """How many there are when one that has just gone is known to have; at once where no node could have."""
        known, end = self.lost(), time.monotonic() + seconds
        while self._several() and self.lost() == known and time.monotonic() < end:
            time.sleep(every)
        return self.lost()

    def _several(self) -> bool:
        return sum(bool(node["Alive"]) for node in self.nodes()) > 1

    def _gone(self) -> set[str]:
        return {node["NodeID"] for node in self.nodes() if not node["Alive"]}


def run_again_what_died(
    todo: Sequence[TrialSpec], tune_trials: TuneTrials, stage: str, deaths: Deaths, nodes: Nodes
) -> dict[str, str]:
    """Run the trials, and again those that died no more often than `RETRIES` and the number of lost nodes.

    A node that is lost takes a trial with it once at most. So one that died more often died by itself too often.

    Args:
        todo: the trials.
        tune_trials: runs some of them, and has `deaths` count.
        stage: a name for Ray's scratch folder.
        deaths: counted so far.
        nodes: of the cluster, watched since before any trial began.

    Returns:
        The errors of those that were given up, by trial id.
    """
    errors = given_up = tune_trials(todo, stage, RETRIES)
    for n in count(2):
        deaths.none_missed(given_up, n - 1)
        died = [trial for trial, error in given_up.items() if not is_of_the_store(error)]
        allowed = RETRIES + nodes.lost()
        if any(deaths[trial] > allowed for trial in died):
            allowed = RETRIES + nodes.await_loss()
        again = {trial for trial in died if deaths[trial] <= allowed}
        if not again:
            break
        log.info("%d trials died as nodes were lost: they run again", len(again))
        given_up = tune_trials([spec for spec in todo if spec.id in again], f"{stage}-{n}", 0)
        errors = {trial: error for trial, error in errors.items() if trial not in again} | given_up
    return errors


def is_of_the_store(error: str) -> bool:
    """Whether an error, of which Tune keeps the text, was a `StoreError`: the trial is then to be run again."""
    kinds: list[type[StoreError]] = [StoreError, *StoreError.__subclasses__()]
    return any(kind.__name__ in error for kind in kinds)
