"""The budget: a table of what each effort spends, and the same for methods that start from scratch and others."""

from __future__ import annotations

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
        plain = BUDGETS[effort].nets if methods is NETS else min(BUDGETS[effort].heads, counts["sc-ml-ef"])
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


@pytest.mark.parametrize(
    ("effort", "rows", "seeds", "expected"),
    [
        ("quick", 100_000, None, 2),
        ("quick", 2000, None, 2),
        ("quick", 1999, None, 3),
        ("quick", 500, None, 3),
        ("quick", 499, None, 5),
        ("standard", 499, None, 8),
        ("full", 100_000, None, 5),
        ("full", 20, None, 10),
        ("full", 20, 1, 1),
        ("quick", 100_000, 7, 7),
    ],
)
def test_members_by_effort_and_rows(effort: Effort, rows: int, seeds: int | None, expected: int) -> None:
    assert members_for(effort, rows, seeds) == expected


@pytest.mark.parametrize(
    ("rows", "members", "expected"), [(2000, 5, 1), (1999, 5, 3), (20, 10, 3), (20, 2, 2), (20, 1, 1)]
)
def test_folds_to_compare_on(rows: int, members: int, expected: int) -> None:
    assert folds_to_compare(rows, members) == expected


@pytest.mark.parametrize(
    ("effort", "rows", "batch", "expected"),
    [
        ("quick", 20, 32, 25),  # few rows: the bound of epochs
        ("quick", 2000, 64, 12),  # 25 000 visits of rows
        ("quick", 1000, 32, 16),  # 500 steps, 32 (or 31) an epoch
        ("quick", 1_000_000, 256, 3),
        ("full", 20, 32, 150),
        ("full", 1_000_000, 256, 25),
    ],
)
def test_epochs_by_rows(effort: Effort, rows: int, batch: int, expected: int) -> None:
    assert epochs_for(effort, rows, batch) == expected


def test_more_rows_never_train_for_more_epochs_and_more_effort_never_for_fewer() -> None:
    for effort in get_args(Effort):
        found = [epochs_for(effort, rows, 128) for rows in range(100, 50_000, 997)]
        assert found == sorted(found, reverse=True)
    for rows in (10, 1000, 10_000, 200_000):
        by_effort = [epochs_for(effort, rows, 128) for effort in get_args(Effort)]
        assert by_effort == sorted(by_effort)


def test_the_first_rung_is_a_third() -> None:
    assert first_rung({"lr": 1.0, "epochs": 25}) == {"lr": 1.0, "epochs": 9}
    assert first_rung({"epochs": 4}) == {"epochs": 3}
    assert first_rung({"regressor": "ridge"}) == {"regressor": "ridge"}
    assert rows_of_first_rung({"epochs": 25}, 9000) == 9000
    assert rows_of_first_rung({"regressor": "ridge"}, 9000) == 3000
    assert rows_of_first_rung({"regressor": "ridge"}, 1500) == 1000  # `part` draws no more than there are
