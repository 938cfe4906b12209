"""Which trials a sweep consists of: target × method × source × configuration × seed, each with an id of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xtlray.errors import RequestError
from xtlray.nn.members import Head
from xtlray.nn.nets import resolve_net
from xtlray.records import TrialRecord
from xtlray.store import canonical_json
from xtlray.transfer.method import Config, Setting
from xtlray.transfer.methods import get_method
from xtlray.transfer.selection import choose_config
from xtlray.transfer.settings import TransferSettings

FIRST_SEED = 0  # of the trials that choose the configuration


@dataclass(frozen=True)
class Arm:
    """What a leaderboard row is about: a target, a method, and the source model it starts from, if any."""

    target: str
    method: str
    source: str | None

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

    @property
    def id(self) -> str:
        digest = hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:8]
        return f"{self.arm.target.replace('/', '.')}--{self.arm.method}--{digest}-s{self.seed}"


def arms_of(settings: TransferSettings, targets: Iterable[str], sources: Iterable[str]) -> list[Arm]:
    """All arms of a job, each once, in the order of its file.

    Args:
        settings: the job.
        targets: names of datasets, patterns expanded.
        sources: models as `name@version`.

    Raises:
        RequestError: a method needs a source and there is none; an unknown method.
    """
    sources = list(sources)
    arms = []
    for target in targets:
        for name in settings.methods:
            needs = get_method(name).needs_source
            if needs and not sources:
                raise RequestError(
                    f"The method {name} needs a source model",
                    got="no source",
                    fix="name one, such as source: oqmd-elemnet, or leave the method out",
                )
            arms += [Arm(target, name, source) for source in (sources if needs else [None])]
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
    rows: int,
    source_nets: Mapping[str, dict[str, Any]],
    head: str | None = None,
) -> list[Config]:
    """The configurations that an arm's method tries on a target with this many training rows."""
    source_net = source_nets[arm.source] if arm.source else None
    net, regressors = resolve_net(settings.net), settings.regressors_for(rows)
    return get_method(arm.method).search(Setting(settings.effort, rows, net, source_net, head, regressors))


def first_trials(
    arms: Iterable[Arm],
    settings: TransferSettings,
    rows: Mapping[str, int],
    hashes: Mapping[str, str],
    source_nets: Mapping[str, dict[str, Any]],
    heads: Mapping[Arm, str | None] | None = None,
) -> list[TrialSpec]:
    """Every configuration once, with the first seed: what the choice of configurations is made from.

    Targets with more rows come first, so that no long trial is left for the end.

    Args:
        arms: of the job.
        settings: the job.
        rows: of training, by target.
        hashes: of the data, by target.
        source_nets: descriptions of nets by `name@version`.
        heads: where an arm's source answers for several properties, the one to start from.
    """
    heads = heads or {}
    ordered = sorted(arms, key=lambda arm: -rows[arm.target])
    return [
        TrialSpec(arm, hashes[arm.target], config, FIRST_SEED)
        for arm in ordered
        for config in configs_of(arm, settings, rows[arm.target], source_nets, heads.get(arm))
    ]


def further_trials(
    first: Iterable[TrialSpec], settings: TransferSettings, records: Mapping[str, TrialRecord]
) -> list[TrialSpec]:
    """The other seeds of each arm's chosen configuration."""
    trials = []
    for arm, specs in group_by_arm(first).items():
        chosen = choose_config([records[spec.id] for spec in specs if spec.id in records])
        if chosen is None or not get_method(arm.method).seeded:
            continue
        hashed = specs[0].data_hash
        trials += [TrialSpec(arm, hashed, chosen, seed) for seed in range(FIRST_SEED + 1, settings.seeds)]
    return trials


def group_by_arm(specs: Iterable[TrialSpec]) -> dict[Arm, list[TrialSpec]]:
    """Trials by arm, in the order they come."""
    grouped: dict[Arm, list[TrialSpec]] = {}
    for spec in specs:
        grouped.setdefault(spec.arm, []).append(spec)
    return grouped


def most_trials(first: Iterable[TrialSpec], settings: TransferSettings) -> int:
    """How many trials the whole sweep has if none fails."""
    grouped = group_by_arm(first)
    return sum(len(specs) + (settings.seeds - 1) * get_method(arm.method).seeded for arm, specs in grouped.items())
