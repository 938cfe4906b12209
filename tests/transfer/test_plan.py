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
    Arm,
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
ARM = Arm("jarvis/klu", "tl-finetune", "oqmd-elemnet@1")
SPEC = TrialSpec(ARM, "a" * 64, {"lr": 1e-3, "batch": 32, "epochs": 2}, 1)


def settings(**changes: object) -> TransferSettings:
    given = {"targets": list(ROWS), "net": tiny.NET, "seeds": 3, "effort": "standard", **changes}
    return TransferSettings.parse(given, "job.yaml")


def specs(job: TransferSettings) -> list[TrialSpec]:
    return first_trials(arms_of(job, ROWS, SOURCES), job, ROWS, HASHES, SOURCES)


def test_the_id_of_a_trial_is_the_same_everywhere() -> None:
    assert SPEC.id == "jarvis.klu--tl-finetune--e471686b-s1"
    assert replace(SPEC, config={"epochs": 2, "batch": 32, "lr": 1e-3}).id == SPEC.id  # the order of keys is none


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, seed=2),
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


def test_the_first_trials_are_every_configuration_with_one_seed_big_targets_first() -> None:
    job = settings()
    found = specs(job)
    assert {spec.seed for spec in found} == {0}
    assert [spec.arm.target for spec in found] == sorted((s.arm.target for s in found), reverse=True)
    for arm, group in group_by_arm(found).items():
        assert [spec.config for spec in group] == configs_of(arm, job, ROWS[arm.target], SOURCES)
        assert {spec.data_hash for spec in group} == {HASHES[arm.target]}


def test_the_other_seeds_are_those_of_the_chosen_configuration(record: Callable[..., TrialRecord]) -> None:
    job = settings()
    first = specs(job)
    records = {
        spec.id: record(1.0 + i, config=spec.config, trial=spec.id, method=spec.arm.method)
        for i, spec in enumerate(reversed(first))
    }
    further = further_trials(first, job, records)
    for arm, group in group_by_arm(further).items():
        assert arm.method in ("sc-dl-ef", "tl-finetune")  # the others know no seed
        assert [spec.seed for spec in group] == [1, 2]
        best = configs_of(arm, job, ROWS[arm.target], SOURCES)[-1]  # the last has the lowest error
        assert [spec.config for spec in group] == [best, best]
    assert len(first) + len(further) == most_trials(first, job)
    assert further_trials(first, settings(seeds=1), records) == []


def test_an_arm_whose_trials_all_failed_gets_no_further_ones(record: Callable[..., TrialRecord]) -> None:
    first = specs(settings(methods=["sc-dl-ef"]))
    assert further_trials(first, settings(), {spec.id: record(None, trial=spec.id) for spec in first}) == []
    assert further_trials(first, settings(), {}) == []


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
        group_by_arm(first_trials(arms, job, ROWS, HASHES, SOURCES, heads))
        for heads in (dict.fromkeys(arms), {arm: "a/gap" for arm in arms if arm.source})
    )
    for arm in arms:
        if arm.method == "tl-finetune":
            assert [spec.config for spec in several[arm]] == [{**spec.config, "head": "a/gap"} for spec in one[arm]]
            assert {spec.id for spec in several[arm]}.isdisjoint(spec.id for spec in one[arm])
        else:
            assert several[arm] == one[arm]  # activations are the same whatever the head
    assert one == group_by_arm(first_trials(arms, job, ROWS, HASHES, SOURCES))
