"""A whole transfer job below the registry: two rungs of trials, the choice between them, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, partial

from xtlray.data.dataset import Dataset
from xtlray.data.inputs import InputEncoder
from xtlray.errors import WorkError
from xtlray.nn.members import NetMember
from xtlray.progress import Progress
from xtlray.records import ResultRecord, TrialRecord
from xtlray.store import Store
from xtlray.transfer.answers import Mixture, errors_to_compare, mix, read_answers, single
from xtlray.transfer.gauges import Gauges
from xtlray.transfer.pace import Pace
from xtlray.transfer.plan import (
    Arm,
    Facts,
    TrialSpec,
    arms_of,
    first_trials,
    further_trials,
    group_by_arm,
    head_for,
    most_trials,
)
from xtlray.transfer.scoring import HeldOutRows, Reference, Source, score
from xtlray.transfer.selection import choose_lowest
from xtlray.transfer.settings import ENSEMBLE, TransferSettings
from xtlray.transfer.sweep import run_trials
from xtlray.transfer.tally import Say, Tally
from xtlray.transfer.task import Pool, make_pool
from xtlray.transfer.trial import Sweep


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
        progress: told how far it is.
    """

    sweep: Sweep
    settings: TransferSettings
    datasets: Mapping[str, Dataset]
    nets: Mapping[str, NetMember]
    references: Mapping[str, Reference]
    encoder: InputEncoder
    sources: Mapping[str, Source] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class Outcome:
    """What a job came to.

    Attributes:
        results: by arm, ensembles among them.
        mixtures: what the model of each arm consists of, where it has one.
        errors: out-of-fold errors of arms of one target, on the same rows.
        records: of all trials, by arm.
        refused: targets that could not be tried, with the reason.
    """

    results: dict[Arm, ResultRecord]
    mixtures: dict[Arm, Mixture]
    errors: dict[Arm, float]
    records: dict[Arm, list[TrialRecord]]
    refused: dict[str, str]

    @property
    def failures(self) -> list[TrialRecord]:
        return [record for records in self.records.values() for record in records if record.status == "failed"]

    def best(self, target: str) -> Arm | None:
        """The arm of a target with the lowest out-of-fold error; test errors are not looked at."""
        return choose_lowest((error, arm.slug, arm) for arm, error in self.errors.items() if arm.target == target)


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
    pools, refused = _pools(campaign, say)
    units = {name: dataset.card.unit for name, dataset in campaign.datasets.items()}
    by_arm = run_arms(store, campaign, campaign.settings, pools, units, session, say)
    campaign.progress.begin("scoring")
    mixtures, errors = mixtures_of(store, campaign.settings, by_arm, pools)
    say("scoring what was chosen")
    return Outcome(_scores(store, campaign, mixtures, by_arm, pools), mixtures, errors, by_arm, refused)


def run_arms(
    store: Store,
    campaign: Campaign,
    settings: TransferSettings,
    pools: Mapping[str, Pool],
    units: Mapping[str, str | None],
    session: Callable[[], AbstractContextManager[None]],
    say: Say,
) -> dict[Arm, list[TrialRecord]]:
    """Both rungs of trials of every arm; their records by arm. `units` are those of the pools' targets."""
    nets = campaign.nets
    arms = arms_of(settings, pools, nets)
    facts = {name: Facts.of(pool.data_hash, pool.y_B) for name, pool in pools.items()}
    # Which of a source's outputs is carried over to the target, where there are several.
    heads = {
        arm: head_for(nets[arm.sources[0]].heads, units[arm.target]) if len(arm.sources) == 1 else None for arm in arms
    }
    first = first_trials(arms, settings, facts, {name: net.spec for name, net in nets.items()}, heads)
    most = most_trials(first, settings, facts)
    tally = Tally(most, say, campaign.progress, Gauges(campaign.sweep.run), Pace(settings, facts))
    campaign.progress.expect("configurations", "trials", len(first))
    if most > len(first):
        campaign.progress.expect("seeds", "trials", most - len(first))

    def run(specs: list[TrialSpec], stage: str) -> dict[str, TrialRecord]:
        tally.begin(stage, specs)
        return run_trials(
            store,
            campaign.sweep,
            specs,
            pools,
            nets,
            stage=stage,
            share=(settings.cpus_per_trial, settings.gpus_per_trial),
            session=session,
            on_record=tally.tell,
            on_running=tally.running,
        )

    records = run(first, "configurations")
    further = further_trials(first, settings, facts, records)
    if further:
        records |= run(further, "seeds")
    return {arm: [records[s.id] for s in specs] for arm, specs in group_by_arm([*first, *further]).items()}


def mixtures_of(
    store: Store, settings: TransferSettings, by_arm: Mapping[Arm, list[TrialRecord]], pools: Mapping[str, Pool]
) -> tuple[dict[Arm, Mixture], dict[Arm, float]]:
    """The members of each arm that has any, and of each target's ensemble; errors by which the best is chosen.

    Test values are not read for it.
    """
    mixtures: dict[Arm, Mixture] = {}
    errors: dict[Arm, float] = {}
    for target, pool in pools.items():
        read = {arm: read_answers(store, records, pool) for arm, records in by_arm.items() if arm.target == target}
        found = {arm: answers for arm, answers in read.items() if answers is not None}
        mixtures |= {arm: single(arm, answers, pool) for arm, answers in found.items()}
        errors |= errors_to_compare(found, pool)
        mixed = mix(found, pool) if ENSEMBLE in settings.methods else None
        if mixed is not None:
            arm = Arm(target, ENSEMBLE, None)
            mixtures[arm] = mixed
            if mixed.val_mae is not None:
                errors[arm] = mixed.val_mae  # of the same rows
    return mixtures, errors


def _scores(
    store: Store,
    campaign: Campaign,
    mixtures: Mapping[Arm, Mixture],
    by_arm: Mapping[Arm, list[TrialRecord]],
    pools: Mapping[str, Pool],
) -> dict[Arm, ResultRecord]:
    """The results of all arms; a target's test rows are read once for those of its arms that are not scored yet."""

    @cache
    def test_rows(target: str) -> HeldOutRows:
        return HeldOutRows.of(campaign.datasets[target], pools[target], campaign.encoder)

    def of(arm: Arm) -> ResultRecord:
        records = by_arm.get(arm)
        if records is None:  # an ensemble stands on all trials of its target
            records = [record for other, each in by_arm.items() if other.target == arm.target for record in each]
        return score(
            store,
            campaign.sweep,
            arm,
            mixtures.get(arm),
            records,
            pools[arm.target],
            campaign.datasets[arm.target],
            partial(test_rows, arm.target),
            campaign.references[arm.target],
            campaign.sources,
        )

    return {arm: of(arm) for arm in dict.fromkeys([*by_arm, *mixtures])}


def _pools(campaign: Campaign, say: Say) -> tuple[dict[str, Pool], dict[str, str]]:
    """The pools, and the reasons of targets that have none: one of them must not end the others' sweep."""
    pools, refused = {}, {}
    for name, dataset in campaign.datasets.items():
        try:
            pools[name] = make_pool(dataset, campaign.encoder)
        except WorkError as error:
            refused[name] = str(error)
            continue
        for split, count in pools[name].skipped.items():
            if count:
                say(f"{name}: {count} {split} rows hold an element that the input cannot hold, and are left out")
    return pools, refused
