"""Results into rows: the published columns, ranked by validation error, models only where published."""

from __future__ import annotations

from typing import Any

import pytest

from tests import tiny
from xtlray.errors import StoreError, UnknownNameError
from xtlray.leaderboard.fold import COLUMNS, as_rows, matching, rank, read_results
from xtlray.nn.members import ConstantMember
from xtlray.records import ResultRecord
from xtlray.store import Store

# As users and outside checks know them.
PUBLISHED_COLUMNS = (
    "target, unit, method, source, seeds, rows_train, rows_val, rows_test, val_mae, test_mae, test_mae_spread, "
    "base_mae, ref_best_transfer, ref_best_scratch, model, run, status, error, seconds, commit, "
    "split_id, input, source_hash, test_rmse, test_r2, mae_over_base, rows_test_new, test_mae_new_compositions, "
    "floor_mae, polymorph_mad, rows_test_pretrained, trials_run, rows_per_s, hardware, "
    "interval_coverage, interval_width"
)


def result(target: str = "user/gap", method: str = "base", val_mae: float | None = 1.0, **changes: Any) -> ResultRecord:
    fields = {
        "target": target,
        "unit": "eV",
        "method": method,
        "source": None,
        "seeds": 1,
        "rows_train": 8,
        "rows_val": 1,
        "rows_test": 1,
        "val_mae": val_mae,
        "test_mae": 0.5,
        "test_mae_spread": 0.0,
        "base_mae": 1.0,
        "ref_best_transfer": None,
        "ref_best_scratch": None,
        "run": "run-00000001",
        "status": "ok" if val_mae is not None else "failed",
        "seconds": 1.0,
        "commit": "abc",
    }
    return ResultRecord(**{**fields, **changes})


def keep(store: Store, name: str, record: ResultRecord) -> None:
    store.create_json(f"runs/{record.run}/results/transfer/{name}.json", record.as_json())


def test_the_columns_in_their_order() -> None:
    assert ", ".join(COLUMNS) == PUBLISHED_COLUMNS
    (row,) = as_rows([result()])
    assert ", ".join(row) == PUBLISHED_COLUMNS


def test_an_empty_store(store: Store) -> None:
    assert read_results(store) == []
    assert matching([], None) == []
    with pytest.raises(UnknownNameError, match=r"nothing: it is empty.*run a transfer job"):
        matching([], "user/gap")


def test_results_of_all_runs_with_the_models_they_were_published_as(store: Store) -> None:
    keep(store, "user.gap--base", result())
    keep(store, "user.gap--sc-dl-ef", result(method="sc-dl-ef"))
    keep(store, "user.gap--base", result(run="run-00000002"))
    tiny.model(store, "user/gap", "run-00000001", [ConstantMember(1.0)], result="user.gap--sc-dl-ef.json")
    models = {(row.run, row.method): row.model for row in read_results(store)}
    assert models == {
        ("run-00000001", "base"): None,
        ("run-00000001", "sc-dl-ef"): "user/gap@1",
        ("run-00000002", "base"): None,
    }
    assert [row.run for row in read_results(store, ["run-00000002"])] == ["run-00000002"]
    store.delete(["models/user/gap/1/card.json"])
    assert [row.model for row in read_results(store)] == [None] * 3  # begun or deleted is not published


def test_a_damaged_result_is_named(store: Store) -> None:
    store.create("runs/r/results/transfer/x.json", b"{}")
    with pytest.raises(StoreError, match=r"runs/r/results/transfer/x\.json"):
        read_results(store)


def test_ranked_by_target_then_validation_error() -> None:
    rows = [
        result("user/b", "one", 1.0),
        result("user/a", "failed", None, test_mae=0.0),
        result("user/a", "worse", 2.0, test_mae=0.1),  # the better test error counts for nothing
        result("user/a", "tie", 1.0, source="m@2"),
        result("user/a", "tie", 1.0, source="m@1"),
        result("user/a", "better", 0.5, test_mae=9.0),
    ]
    expected = [("better", None), ("tie", "m@1"), ("tie", "m@2"), ("worse", None), ("failed", None), ("one", None)]
    assert [(row.method, row.source) for row in rank(rows)] == expected
    assert rank(reversed(rows)) == rank(rows)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, ["jarvis/kaa", "jarvis/klu", "user/gap"]),
        ("jarvis/k*", ["jarvis/kaa", "jarvis/klu"]),
        ("user/gap", ["user/gap"]),
    ],
)
def test_targets_by_name_or_pattern(pattern: str | None, expected: list[str]) -> None:
    rows = [result(name) for name in ("jarvis/kaa", "jarvis/klu", "user/gap")]
    assert [row.target for row in matching(rows, pattern)] == expected


def test_a_target_that_is_not_there_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="jarvis/klu"):
        matching([result("jarvis/klu")], "jarvis/kul")
