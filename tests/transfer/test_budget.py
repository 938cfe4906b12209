"""The budget: a table of what each effort spends, and the same for methods that start from scratch and others."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from tests import tiny
from xtlray.transfer.budget import (
    BUDGETS,
    epochs_for,
    first_rung,
    folds_to_compare,
    members_for,
    rows_of_first_rung,
    search_identity,
)
from xtlray.transfer.method import Setting
from xtlray.transfer.methods import get_method
from xtlray.transfer.settings import Effort, TransferSettings

HEADS = ("sc-ml-ef", "sc-ml-pa", "tl-ml-featextr", "tl-ml-mixed")
NETS = (
    *("sc-dl-ef", "sc-dl-pa", "tl-dl-featextr", "tl-dl-mixed"),
    *("tl-finetune", "tl-modfinetune", "tl-freeze"),
)


@pytest.mark.parametrize("long_tailed", [False, True])
@pytest.mark.parametrize("effort", get_args(Effort))
@pytest.mark.parametrize("methods", [HEADS, NETS])
def test_what_is_carried_over_is_tried_as_often_as_what_is_not(
    methods: tuple[str, ...], effort: Effort, long_tailed: bool
) -> None:
    job = TransferSettings.parse({"targets": "a/b", "effort": effort}, "job.yaml")
    for rows in (20, 400, 1500, 2500, 5000, 12_000, 100_000):
        counts = {}
        for name in methods:
            nets = (tiny.NET,) if get_method(name).needs_source else ()
            setting = Setting(effort, rows, tiny.NET, nets, None, job.regressors_for(rows), long_tailed)
            counts[name] = len(get_method(name).search(setting))
        assert len(set(counts.values())) == 1, counts
        plain = BUDGETS[effort].nets if methods is NETS else counts["sc-ml-ef"]
        assert methods is HEADS or counts["sc-dl-ef"] == plain * (1 + long_tailed)


@pytest.mark.parametrize("effort", get_args(Effort))
def test_each_of_them_trains_as_long(effort: Effort) -> None:
    for rows in (20, 1500, 100_000):
        spent = set()
        for name in NETS:
            nets = (tiny.NET,) if get_method(name).needs_source else ()
            configs = get_method(name).search(Setting(effort, rows, tiny.NET, nets))
            spent |= {(config["epochs"], config["batch"]) for config in configs}
        assert len(spent) == 1


@pytest.mark.parametrize("effort", get_args(Effort))
def test_fewer_rows_have_more_members_and_a_job_may_say_how_many(effort: Effort) -> None:
    counts = [members_for(effort, rows) for rows in (20, 499, 500, 1999, 2000, 100_000)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    assert members_for(effort, 20, 1) == 1
    assert members_for(effort, 100_000, 7) == 7


def test_few_rows_are_compared_on_several_folds_but_never_on_more_than_there_are_members() -> None:
    assert folds_to_compare(2000, 5) == 1
    assert 1 < folds_to_compare(1999, 5) <= 5
    assert folds_to_compare(20, 1) == 1


@pytest.mark.parametrize("effort", get_args(Effort))
def test_epochs_keep_to_visits_steps_and_their_bounds(effort: Effort) -> None:
    budget = BUDGETS[effort]
    assert epochs_for(effort, 20, 32) == budget.epochs[1]
    assert epochs_for(effort, 10_000_000, 256) == budget.epochs[0]
    rows = budget.visits // (2 * budget.epochs[0])  # between the bounds, on large batches
    assert epochs_for(effort, rows, 8192) == 2 * budget.epochs[0]
    rows = 32 * (budget.steps // (budget.epochs[0] + 5))  # on small ones the steps are what counts
    assert epochs_for(effort, rows, 32) == pytest.approx(min(budget.epochs[0] + 5, budget.visits / rows), abs=1)


def test_more_rows_never_train_for_more_epochs_and_more_effort_never_for_fewer() -> None:
    for effort in get_args(Effort):
        found = [epochs_for(effort, rows, 128) for rows in range(128, 50_000, 128 * 7)]
        assert found == sorted(found, reverse=True)
    for rows in (10, 1000, 10_000, 200_000):
        by_effort = [epochs_for(effort, rows, 128) for effort in get_args(Effort)]
        assert by_effort == sorted(by_effort)


def test_the_first_rung_is_a_sixth_of_a_nets_visits_and_a_third_of_a_regressors_rows() -> None:
    assert first_rung({"lr": 1.0, "epochs": 25}) == {"lr": 1.0, "epochs": 5}
    assert first_rung({"epochs": 4}) == {"epochs": 2}
    assert first_rung({"regressor": "ridge"}) == {"regressor": "ridge"}
    for epochs in (3, 4, 9, 24, 90):
        config = {"epochs": epochs}
        visits = rows_of_first_rung(config, 9000) * first_rung(config)["epochs"]
        assert visits == pytest.approx(9000 * epochs / 6, rel=1e-3)
    assert rows_of_first_rung({"epochs": 4}, 300) == 300  # few rows are not cut
    assert rows_of_first_rung({"regressor": "ridge"}, 9000) == 3000
    assert rows_of_first_rung({"regressor": "ridge"}, 90_000) == 5000
    assert rows_of_first_rung({"regressor": "ridge"}, 1500) == 1000
    assert rows_of_first_rung({"regressor": "ridge"}, 500) == 500


def test_another_budget_or_rung_is_another_search(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {effort: search_identity(effort) for effort in get_args(Effort)}
    assert len(set(before.values())) == len(before)
    monkeypatch.setitem(BUDGETS, "quick", replace(BUDGETS["quick"], steps=BUDGETS["quick"].steps + 1))
    assert [effort for effort in before if search_identity(effort) != before[effort]] == ["quick"]
    monkeypatch.setattr("xtlray.transfer.budget._NET_PART", 7)
    assert all(search_identity(effort) != before[effort] for effort in before)
