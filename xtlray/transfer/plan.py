"""Which trials a sweep consists of: target × method × source × configuration × seed, each with an id of its own.

Two rungs. On the first, every configuration of a method gets a part of the budget, and only the best of them goes on:
the rule looks at complete rungs alone, never at what came first. On the second, it gets the whole budget with several
seeds, each with another fold held out. A method with one configuration begins there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from xtlray.errors import RequestError
from xtlray.nn.members import Head
from xtlray.nn.nets import resolve_net
from xtlray.nn.warp import long_tailed, mostly_one_value
from xtlray.records import TrialRecord
from xtlray.store import canonical_json
from xtlray.transfer.budget import folds_to_compare, members_for
from xtlray.transfer.method import Config, Setting
from xtlray.transfer.methods import get_method
from xtlray.transfer.selection import choose_config
from xtlray.transfer.settings import ENSEMBLE, TransferSettings
from xtlray.transfer.task import FOLDS

COMPARE, KEEP = 0, 1  # the rungs


@dataclass(frozen=True)
class Arm:
    """What a leaderboard row is about: a target, a method, and the source model it starts from, if any.

    A method that reads several sources side by side has one arm for all of them: `a@1+b@2`.
    """

    target: str
    method: str
    source: str | None

    @property
    def sources(self) -> tuple[str, ...]:
        """Each source as `name@version`."""
        return tuple(self.source.split("+")) if self.source else ()

    @property
    def slug(self) -> str:
        """The arm as part of a key; the digits tell apart what reads the same, such as a.b/c and a/b.c."""
        words = [self.target.replace("/", "."), self.method]
        if self.source:
            words.append(self.source.replace("/", ".").replace("@", "-"))
        digest = hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:6]
        return "--".join([*words, digest])


@dataclass(frozen=True)
class TrialSpec:
    """One trial. Equal specs have equal ids, in every attempt and on every machine."""

    arm: Arm
    data_hash: str
    config: Config
    seed: int
    rung: int = KEEP

    @property
    def id(self) -> str:
        digest = hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:8]
        return f"{self.arm.target.replace('/', '.')}--{self.arm.method}--{digest}-r{self.rung}-s{self.seed}"


@dataclass(frozen=True)
class Facts:
    """What planning knows of a target.

    Attributes:
        data_hash: of the dataset; rows: that may be trained on.
        long_tailed: whether a few of their targets reach far; `mostly_one_value`: whether most are the same.
    """

    data_hash: str
    rows: int
    long_tailed: bool = False
    mostly_one_value: bool = False

    @classmethod
    def of(cls, data_hash: str, y_B: NDArray[np.float64]) -> Facts:
        """The facts of rows with these targets."""
        return cls(data_hash, len(y_B), long_tailed(y_B), mostly_one_value(y_B))


def arms_of(settings: TransferSettings, targets: Iterable[str], sources: Iterable[str]) -> list[Arm]:
    """All arms of a job that have trials, each once, in the order of its file.

    Args:
        settings: the job.
        targets: names of datasets, patterns expanded.
        sources: models as `name@version`.

    Raises:
        RequestError: a method needs a source and there is none; an unknown method; an ensemble of nothing.
    """
    sources = list(sources)
    names = settings.trial_methods
    if not names:
        raise RequestError("An ensemble needs other methods to choose from", got=ENSEMBLE, fix="add tl-finetune")
    arms = []
    for target in targets:
        for name in names:
            method = get_method(name)
            if method.needs_source and not sources:
                raise RequestError(
                    f"The method {name} needs a source model",
                    got="no source",
                    fix="name one, such as source: oqmd-elemnet, or leave the method out",
                )
            if not method.needs_source:
                arms.append(Arm(target, name, None))
            elif method.joins_sources:
                arms.append(Arm(target, name, "+".join(sources)))
            else:
                arms += [Arm(target, name, source) for source in sources]
    return list(dict.fromkeys(arms))


def head_for(heads: Sequence[Head], unit: str | None) -> str | None:
    """The property whose output a target with this unit starts from: the first with that unit, else the first.

    None where there is nothing to choose.
    """
    if len(heads) < 2:
        return None
    alike = [head.property for head in heads if unit is not None and head.unit == unit]
    return alike[0] if alike else heads[0].property


def configs_of(
    arm: Arm,
    settings: TransferSettings,
    facts: Facts,
    source_nets: Mapping[str, Config],
    head: str | None = None,
) -> list[Config]:
    """The configurations that an arm's method tries on a target."""
    nets = tuple(source_nets[source] for source in arm.sources)
    regressors = settings.regressors_for(facts.rows)
    net = resolve_net(settings.net)
    shape = (facts.long_tailed, facts.mostly_one_value)
    setting = Setting(settings.effort, facts.rows, net, nets, head, regressors, *shape)
    return get_method(arm.method).search(setting)


def first_trials(
    arms: Iterable[Arm],
    settings: TransferSettings,
    facts: Mapping[str, Facts],
    source_nets: Mapping[str, Config],
    heads: Mapping[Arm, str | None] | None = None,
) -> list[TrialSpec]:
    """The first rung of arms that have a choice, and all trials of those that have none.

    Targets with more rows come first, so that no long trial is left for the end.

    Args:
        arms: of the job.
        settings: the job.
        facts: by target.
        source_nets: descriptions of nets by `name@version`.
        heads: where an arm's source answers for several properties, the one to start from.
    """
    heads = heads or {}
    trials: list[TrialSpec] = []
    for arm in sorted(arms, key=lambda arm: -facts[arm.target].rows):
        known = facts[arm.target]
        configs = configs_of(arm, settings, known, source_nets, heads.get(arm))
        members = members_for(settings.effort, known.rows, settings.seeds)
        if len(configs) == 1:
            trials += [TrialSpec(arm, known.data_hash, configs[0], seed) for seed in range(members)]
            continue
        # The last folds, as members hold out the first ones: where there are enough, no fold both chooses and judges.
        seeds = range(FOLDS - 1, FOLDS - 1 - folds_to_compare(known.rows, members), -1)
        trials += [TrialSpec(arm, known.data_hash, config, seed, COMPARE) for config in configs for seed in seeds]
    return trials


def further_trials(
    first: Iterable[TrialSpec],
    settings: TransferSettings,
    facts: Mapping[str, Facts],
    records: Mapping[str, TrialRecord],
) -> list[TrialSpec]:
    """The second rung of each arm that had a choice: its best configuration, all seeds."""
    trials = []
    for arm, specs in group_by_arm(first).items():
        compared = [spec for spec in specs if spec.rung == COMPARE]
        chosen = choose_config([records[spec.id] for spec in compared if spec.id in records])
        if chosen is None:
            continue
        known = facts[arm.target]
        seeds = range(members_for(settings.effort, known.rows, settings.seeds))
        trials += [TrialSpec(arm, known.data_hash, chosen, seed) for seed in seeds]
    return trials


def group_by_arm(specs: Iterable[TrialSpec]) -> dict[Arm, list[TrialSpec]]:
    """Trials by arm, in the order they come."""
    grouped: dict[Arm, list[TrialSpec]] = {}
    for spec in specs:
        grouped.setdefault(spec.arm, []).append(spec)
    return grouped


def most_trials(first: Iterable[TrialSpec], settings: TransferSettings, facts: Mapping[str, Facts]) -> int:
    """How many trials the whole sweep has if none fails."""
    total = 0
    for arm, specs in group_by_arm(first).items():
        total += len(specs)
        if specs[0].rung == COMPARE:
            total += members_for(settings.effort, facts[arm.target].rows, settings.seeds)
    return total
