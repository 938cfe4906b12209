"""Which trials there are, and the ids that they have everywhere and always."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests import tiny
from xtlray.errors import RequestError, UnknownNameError
from xtlray.nn.members import Head
from xtlray.records import TrialRecord
from xtlray.transfer.plan import (
    COMPARE,
    KEEP,
    Arm,
    Facts,
    TrialSpec,
    arms_of,
    configs_of,
    first_trials,
    further_trials,
    group_by_arm,
    head_for,
    most_trials,
)
from xtlray.transfer.settings import TransferSettings

SOURCES = {"oqmd-elemnet@1": tiny.NET}
ROWS = {"user/gap": 24, "user/modulus": 300}
HASHES = {"user/gap": "a" * 64, "user/modulus": "b" * 64}
FACTS = {name: Facts(HASHES[name], rows) for name, rows in ROWS.items()}
ARM = Arm("jarvis/klu", "tl-finetune", "oqmd-elemnet@1")
SPEC = TrialSpec(ARM, "a" * 64, {"lr": 1e-3, "batch": 32, "epochs": 2}, 1)


def settings(**changes: object) -> TransferSettings:
    methods = ["base", "sc-dl-ef", "tl-finetune", "tl-ml-featextr"]
    given = {"targets": list(ROWS), "methods": methods, "net": tiny.NET, "seeds": 3, "effort": "standard", **changes}
    return TransferSettings.parse(given, "job.yaml")


def specs(job: TransferSettings) -> list[TrialSpec]:
    return first_trials(arms_of(job, ROWS, SOURCES), job, FACTS, SOURCES)


def test_the_id_of_a_trial_is_the_same_everywhere() -> None:
    assert SPEC.id == "jarvis.klu--tl-finetune--ac8a66ed-r1-s1"
    assert replace(SPEC, config={"epochs": 2, "batch": 32, "lr": 1e-3}).id == SPEC.id  # the order of keys is none


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, seed=2),
        replace(SPEC, rung=COMPARE),
        replace(SPEC, data_hash="b" * 64),
        replace(SPEC, config={"lr": 1e-3, "batch": 32, "epochs": 3}),
        replace(SPEC, arm=Arm("jarvis/klu", "tl-finetune", "oqmd-elemnet@2")),
        replace(SPEC, arm=Arm("jarvis/klu", "sc-dl-ef", None)),
        replace(SPEC, arm=Arm("jarvis/kaa", "tl-finetune", "oqmd-elemnet@1")),
    ],
)
def test_another_trial_has_another_id(other: TrialSpec) -> None:
    assert other.id != SPEC.id


def test_ids_of_a_sweep_are_unique_and_fit_a_key() -> None:
    ids = [spec.id for spec in specs(settings())]
    assert len(set(ids)) == len(ids) > 10
    assert all("/" not in name and "@" not in name for name in ids)
    assert [spec.id for spec in specs(settings())] == ids


def test_arms_in_the_order_of_the_job() -> None:
    job = settings(methods=["tl-finetune", "base"])
    assert arms_of(job, ["user/gap"], ["a@1", "b@2"]) == [
        Arm("user/gap", "tl-finetune", "a@1"),
        Arm("user/gap", "tl-finetune", "b@2"),
        Arm("user/gap", "base", None),
    ]
    assert ARM.slug == "jarvis.klu--tl-finetune--oqmd-elemnet-1--b2eed4"
    assert Arm("jarvis/klu", "base", None).slug.startswith("jarvis.klu--base--")
    assert Arm("user/a.b", "base", None).slug != Arm("user.a/b", "base", None).slug


def test_what_is_named_twice_is_tried_once() -> None:
    arms = arms_of(settings(methods=["base", "tl-finetune", "base"]), ["user/gap"], ["a@1", "a@1"])
    assert len(arms) == 2


def test_arms_that_cannot_be() -> None:
    with pytest.raises(RequestError, match="tl-finetune needs a source model"):
        arms_of(settings(), ["user/gap"], [])
    with pytest.raises(UnknownNameError, match="sc-dl-ef"):
        arms_of(settings(methods=["sc-dl"]), ["user/gap"], [])
    assert arms_of(settings(methods=["base", "sc-dl-ef"]), ["user/gap"], []) != []


def test_an_ensemble_has_no_trials_and_needs_others() -> None:
    assert arms_of(settings(methods=["base", "ensemble"]), ["user/gap"], []) == [Arm("user/gap", "base", None)]
    with pytest.raises(RequestError, match="An ensemble needs other methods"):
        arms_of(settings(methods=["ensemble"]), ["user/gap"], [])


def test_a_method_that_joins_sources_has_one_arm_for_all() -> None:
    (arm,) = arms_of(settings(methods=["tl-ml-mixed"]), ["user/gap"], ["a@1", "b@2"])
    assert (arm.source, arm.sources) == ("a@1+b@2", ("a@1", "b@2"))
    assert "@" not in arm.slug
    assert Arm("user/gap", "base", None).sources == ()


def test_the_first_trials_compare_every_configuration_big_targets_first() -> None:
    job = settings(methods=["base", "sc-dl-ef", "tl-ml-featextr", "tl-finetune"])
    found = specs(job)
    assert [spec.arm.target for spec in found] == sorted((s.arm.target for s in found), reverse=True)
    for arm, group in group_by_arm(found).items():
        configs = configs_of(arm, job, FACTS[arm.target], SOURCES)
        assert {spec.data_hash for spec in group} == {HASHES[arm.target]}
        if arm.method == "base":  # nothing to compare: it begins with what is kept
            assert [(spec.config, spec.seed, spec.rung) for spec in group] == [({}, seed, KEEP) for seed in range(3)]
        else:
            expected = [(config, seed, COMPARE) for config in configs for seed in (9, 8)]
            assert [(spec.config, spec.seed, spec.rung) for spec in group] == expected


def test_many_rows_are_compared_on_one_fold_and_long_tails_with_logarithms() -> None:
    job, arm = settings(seeds=None), Arm("user/gap", "sc-dl-ef", None)
    many = {"user/gap": Facts("a" * 64, 5000)}
    assert {spec.seed for spec in first_trials([arm], job, many, {})} == {9}  # the members hold out 0 and 1
    tailed = {"user/gap": Facts("a" * 64, 5000, long_tailed=True)}
    warps = [spec.config.get("warp") for spec in first_trials([arm], job, tailed, {})]
    assert warps == [None, "log", None, "log"]


def test_the_second_rung_is_the_best_configuration_with_every_seed(record: Callable[..., TrialRecord]) -> None:
    job = settings(methods=["base", "sc-dl-ef", "tl-ml-featextr", "tl-finetune"])
    first = specs(job)
    records = {
        spec.id: record(1.0 + i, config=spec.config, seed=spec.seed, trial=spec.id, method=spec.arm.method)
        for i, spec in enumerate(reversed(first))
    }
    further = further_trials(first, job, FACTS, records)
    assert {arm.method for arm in group_by_arm(further)} == {"sc-dl-ef", "tl-ml-featextr", "tl-finetune"}
    for arm, group in group_by_arm(further).items():
        best = configs_of(arm, job, FACTS[arm.target], SOURCES)[-1]  # the last has the lowest error
        assert [(spec.config, spec.seed, spec.rung) for spec in group] == [(best, seed, KEEP) for seed in range(3)]
    assert len({spec.id for spec in [*first, *further]}) == len(first) + len(further) == most_trials(first, job, FACTS)


def test_arrival_decides_nothing(record: Callable[..., TrialRecord]) -> None:
    job = settings(methods=["sc-dl-ef"])
    first = specs(job)
    records = {s.id: record(1.0, config=s.config, seed=s.seed, trial=s.id) for s in first}
    backwards = dict(reversed(records.items()))
    assert further_trials(first, job, FACTS, records) == further_trials(first, job, FACTS, backwards)


def test_an_arm_whose_trials_all_failed_gets_no_further_ones(record: Callable[..., TrialRecord]) -> None:
    job = settings(methods=["sc-dl-ef"])
    first = specs(job)
    assert further_trials(first, job, FACTS, {spec.id: record(None, trial=spec.id) for spec in first}) == []
    assert further_trials(first, job, FACTS, {}) == []


HEADS = [Head("a/energy", "eV/atom"), Head("a/gap", "eV"), Head("b/gap", "eV"), Head("a/unknown", None)]


@pytest.mark.parametrize(
    ("heads", "unit", "expected"),
    [
        (HEADS, "eV", "a/gap"),
        (HEADS, "eV/atom", "a/energy"),
        (HEADS, "GPa", "a/energy"),
        (HEADS, None, "a/energy"),  # units that nobody knows are not the same one
        (HEADS[1:2], "eV", None),
        (HEADS[1:2], "GPa", None),
        ([], "eV", None),
    ],
)
def test_the_head_of_the_same_unit_is_carried_over(heads: list[Head], unit: str | None, expected: str | None) -> None:
    assert head_for(heads, unit) == expected


def test_the_head_is_in_the_configuration_and_so_in_the_id() -> None:
    job = settings(methods=["tl-finetune", "tl-ml-featextr", "sc-dl-ef"])
    arms = arms_of(job, ["user/gap"], SOURCES)
    one, several = (
        group_by_arm(first_trials(arms, job, FACTS, SOURCES, heads))
        for heads in (dict.fromkeys(arms), {arm: "a/gap" for arm in arms if arm.source})
    )
    for arm in arms:
        if arm.method == "tl-finetune":
            assert [spec.config for spec in several[arm]] == [{**spec.config, "head": "a/gap"} for spec in one[arm]]
            assert {spec.id for spec in several[arm]}.isdisjoint(spec.id for spec in one[arm])
        else:
            assert several[arm] == one[arm]  # activations are the same whatever the head
    assert one == group_by_arm(first_trials(arms, job, FACTS, SOURCES))
