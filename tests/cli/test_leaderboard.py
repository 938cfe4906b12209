"""`xtlray leaderboard`: rows, comparisons of methods, and figures worked out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Said
from tests.leaderboard.test_compare import TRUTH, predicted
from tests.leaderboard.test_fold import PUBLISHED_COLUMNS, keep
from xtlray.records import ResultRecord
from xtlray.store import Store

NOISE = np.random.default_rng(3).normal(size=60)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def results(store: Store) -> list[ResultRecord]:
    found = [predicted(store, "a/b", "tl-finetune", 0.1 * NOISE), predicted(store, "a/b", "sc-dl-ef", NOISE)]
    for record in found:
        keep(store, record.method, record)
    return found


def test_the_rows(xtlray: Callable[..., Said], store: Store) -> None:
    assert xtlray("leaderboard", "--json")[:2] == (0, "[]\n")
    assert "leaderboard is empty" in xtlray("leaderboard")[2]
    old = {
        "target": "user/gap", "unit": "eV", "method": "base", "source": None, "seeds": 1, "rows_train": 8,
        "rows_val": 1, "rows_test": 0, "val_mae": 1.0, "test_mae": None, "test_mae_spread": None, "base_mae": None,
        "ref_best_transfer": None, "ref_best_scratch": None, "model": None, "run": "run-00000002", "status": "ok",
        "error": None, "seconds": 1.0, "commit": "abc",
    }  # fmt: skip
    store.create_json("runs/run-00000002/results/transfer/user.gap--base.json", {**old, "config": {"a": 1}})
    code, out, _ = xtlray("leaderboard", "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert ", ".join(row) == PUBLISHED_COLUMNS  # in this order
    assert {name: row[name] for name in old} == old
    assert row["floor_mae"] is None  # a result of before it was known
    assert xtlray("leaderboard", "--format", "csv")[1].splitlines()[0] == ",".join(row)
    table = xtlray("leaderboard", "--target", "user/*")[1]
    assert "8/1/0" in table
    code, out, err = xtlray("leaderboard", "--target", "user/gop")
    assert (code, out) == (2, "")
    assert "user/gap" in err


def test_methods_are_compared(xtlray: Callable[..., Said], results: list[ResultRecord]) -> None:
    code, out, _ = xtlray("leaderboard", "--compare", "tl-finetune", "--against", "sc-dl-ef", "--json")
    found = json.loads(out)
    assert (code, found["targets"], found["better"], found["worse"], found["lower_mae"]) == (0, 1, 1, 0, 1)
    (target,) = found["by_target"]
    assert (target["target"], target["verdict"]) == ("a/b", "better")
    assert target["test_mae"] == pytest.approx(results[0].test_mae)
    code, out, err = xtlray("leaderboard", "--compare", "sc-dl-ef", "--against", "tl-finetune")
    assert code == 0
    assert "worse" in out
    assert "lower test MAE on 0 of 1 targets" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--compare", "tl-finetune"), "--compare and --against go together"),
        (("--compare", "tl-finetune", "--against", "tl-freeze"), "Allowed: sc-dl-ef, tl-finetune"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    xtlray: Callable[..., Said], results: list[ResultRecord], words: tuple[str, ...], message: str
) -> None:
    code, out, err = xtlray("leaderboard", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_figures_are_worked_out_again(xtlray: Callable[..., Said], store: Store) -> None:
    errors = np.abs(NOISE)
    found = predicted(
        store,
        "a/b",
        "base",
        NOISE,
        test_rmse=float(np.sqrt(np.square(NOISE).mean())),
        test_r2=float(1 - np.square(NOISE).sum() / np.square(TRUTH - TRUTH.mean()).sum()),
        test_mae_new_compositions=float(errors[::2].mean()),
    )
    keep(store, "base", found)
    code, out, _ = xtlray("leaderboard", "--rescore", "--json")
    (row,) = json.loads(out)
    assert (code, row["agrees"]) == (0, True)
    assert row["rescored_test_mae"] == pytest.approx(errors.mean())

    keep(store, "wrong", found.model_copy(update={"target": "a/wrong", "test_mae": 0.1}))
    code, _, err = xtlray("leaderboard", "--rescore", "--json")
    assert code == 1
    assert "a/wrong base of run-00000001" in err
