"""A whole transfer job below the registry: trials, choice of configurations, further seeds, results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, partial

from xtlray.data.dataset import Dataset
from xtlray.data.inputs import InputEncoder
from xtlray.errors import WorkError
from xtlray.nn.members import NetMember
from xtlray.records import ResultRecord, TrialRecord
from xtlray.store import Store
from xtlray.transfer.plan import (
    Arm,
    TrialSpec,
    arms_of,
    first_trials,
    further_trials,
    group_by_arm,
    head_for,
    most_trials,
)
from xtlray.transfer.scoring import HeldOutRows, Reference, Source, score_arm
from xtlray.transfer.selection import choose_lowest
from xtlray.transfer.settings import TransferSettings
from xtlray.transfer.sweep import run_trials
from xtlray.transfer.task import Task, make_task
from xtlray.transfer.trial import Sweep

Say = Callable[[str], None]


@dataclass(frozen=True)
class Campaign:
    """What a transfer job works on.

    Attributes:
        sweep: run, attempt and where its records lie.
        settings: the job.
        datasets: by target.
        nets: source nets by `name@version`.
        references: published figures by target.
        encoder: makes inputs of compositions.
        sources: what scoring wants to know of the source models, by `name@version`.
    """

    sweep: Sweep
    settings: TransferSettings
    datasets: Mapping[str, Dataset]
    nets: Mapping[str, NetMember]
    references: Mapping[str, Reference]
    encoder: InputEncoder
    sources: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Results by arm, the trial records that they stand on, and targets that could not be tried, with the reason."""

    results: dict[Arm, ResultRecord]
    records: dict[Arm, list[TrialRecord]]
    refused: dict[str, str]

    @property
    def failures(self) -> list[TrialRecord]:
        return [record for records in self.records.values() for record in records if record.status == "failed"]

    def best(self, target: str) -> Arm | None:
        """The arm of a target with the lowest validation error; test errors are not looked at."""
        arms = [arm for arm in self.results if arm.target == target]
        return choose_lowest((self.results[arm].val_mae, arm.slug, arm) for arm in arms)


def run_campaign(
    store: Store, campaign: Campaign, session: Callable[[], AbstractContextManager[None]], say: Say
) -> Outcome:
    """Run what is left of a transfer job.

    Args:
        store: where records and results are kept.
        campaign: what to work on.
        session: starts Ray; asked for only when there are trials to run.
        say: told of progress.
    """
    settings = campaign.settings
    tasks, refused = _tasks(campaign, say)
    arms = arms_of(settings, tasks, campaign.nets)
    rows = {name: len(task.y_train_B) for name, task in tasks.items()}
    hashes = {name: task.data_hash for name, task in tasks.items()}
    specs = {name: net.spec for name, net in campaign.nets.items()}
    first = first_trials(arms, settings, rows, hashes, specs, {arm: _head(campaign, arm) for arm in arms})
    progress = _Progress(most_trials(first, settings), say)

    def run(specs: list[TrialSpec], stage: str) -> dict[str, TrialRecord]:
        return run_trials(
            store,
            campaign.sweep,
            specs,
            tasks,
            campaign.nets,
            stage=stage,
            share=(settings.cpus_per_trial, settings.gpus_per_trial),
            session=session,
            on_record=progress.tell,
        )

    records = run(first, "configurations")
    further = further_trials(first, settings, records)
    records |= run(further, "seeds")
    say("scoring the chosen configurations")
    by_arm = {arm: [records[s.id] for s in specs] for arm, specs in group_by_arm([*first, *further]).items()}
    return Outcome(_scores(store, campaign, arms, by_arm, tasks), by_arm, refused)


def _head(campaign: Campaign, arm: Arm) -> str | None:
    """Which of a source's outputs is carried over to the target, where there are several."""
    unit = campaign.datasets[arm.target].card.unit
    return head_for(campaign.nets[arm.source].heads, unit) if arm.source else None


def _scores(
    store: Store,
    campaign: Campaign,
    arms: Iterable[Arm],
    by_arm: Mapping[Arm, list[TrialRecord]],
    tasks: Mapping[str, Task],
) -> dict[Arm, ResultRecord]:
    """The results of all arms; a target's test rows are read once for those of its arms that are not scored yet."""

    @cache
    def test_rows(target: str) -> HeldOutRows:
        return HeldOutRows.of(campaign.datasets[target], tasks[target], campaign.encoder)

    def score(arm: Arm) -> ResultRecord:
        source = campaign.sources.get(arm.source) if arm.source else None
        dataset, reference = campaign.datasets[arm.target], campaign.references[arm.target]
        test = partial(test_rows, arm.target)
        task, records = tasks[arm.target], by_arm[arm]
        return score_arm(store, campaign.sweep, arm, records, task, dataset, test, reference, source)

    return {arm: score(arm) for arm in arms}


def _tasks(campaign: Campaign, say: Say) -> tuple[dict[str, Task], dict[str, str]]:
    """The tasks, and the reasons of targets that have none: one of them must not end the others' sweep."""
    tasks, refused = {}, {}
    for name, dataset in campaign.datasets.items():
        try:
            tasks[name] = make_task(dataset, campaign.encoder)
        except WorkError as error:
            refused[name] = str(error)
            continue
        for split, count in tasks[name].skipped.items():
            if count:
                say(f"{name}: {count} {split} rows hold an element that the input cannot hold, and are left out")
    return tasks, refused


class _Progress:
    """Says each record as it comes, with the time that is left if it goes on like this."""

    def __init__(self, total: int, say: Say) -> None:
        self.total, self.say = total, say
        self.done, self.fresh = 0, 0
        self.started = time.monotonic()

    def tell(self, record: TrialRecord, fresh: bool) -> None:
        self.done += 1
        if not fresh:
            return
        self.fresh += 1
        left = (time.monotonic() - self.started) / self.fresh * (self.total - self.done)
        source = f" from {record.source}" if record.source else ""
        outcome = f"validation MAE {record.val_mae:.4g}" if record.status == "ok" else f"failed: {record.error}"
        self.say(
            f"trial {self.done}/{self.total} {record.target} {record.method}{source} seed {record.seed}: {outcome}"
            f" ({record.seconds:.1f} s; about {left / 60:.0f} min left)"
        )
