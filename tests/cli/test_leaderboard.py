"""`xtlray leaderboard`: rows, views, comparisons of methods, figures worked out again, and the tables kept up with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable

from tests.cli.conftest import Said
from tests.leaderboard.runs import RUNS, fill, finish, publish
from tests.leaderboard.test_compare import TRUTH, predicted
from tests.leaderboard.test_fold import PUBLISHED_COLUMNS, keep, result
from xtlray.leaderboard import views
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


@pytest.fixture
def runs(store: Store) -> Store:
    """Two runs of two methods each, from the same source; a model of the first was published a day later."""
    for run in RUNS:
        fill(store, run)
        keep(store, "tl", result("user/gap", "tl-finetune", 0.1 + int(run[-1]), run=run, source="m@1", test_mae=0.25))
        finish(store, run)
    keep(store, "failed", result("user/klu", "base", None, run=RUNS[0], error="it | diverged"))
    publish(store, RUNS[0], "base", "user/gap@1", created="2026-01-02T00:00:00Z")
    return store


ROWS = ((), ("--view", "best"), ("--method", "base"), ("--sort", "seconds"), ("--run", RUNS[0]))


@pytest.mark.parametrize("words", ROWS)
def test_the_same_is_printed_with_and_without_tables(
    xtlray: Callable[..., Said], runs: Store, words: tuple[str, ...]
) -> None:
    for form in ("json", "csv", "table", "md"):
        runs.delete(runs.list("leaderboard"))
        code, without, err = xtlray("leaderboard", *words, "--format", form)
        assert (code, "adding what" in err) == (0, True)
        code, out, err = xtlray("leaderboard", *words, "--format", form)
        assert (code, out, err) == (0, without, "")


def test_rows_in_every_format(xtlray: Callable[..., Said], runs: Store) -> None:
    rows = json.loads(xtlray("leaderboard", "--json")[1])
    assert len(rows) == 7
    read = list(csv.DictReader(io.StringIO(xtlray("leaderboard", "--format", "csv")[1])))
    assert [*read[0]] == [*rows[0]]
    assert [(row["method"], float(row["val_mae"] or "nan")) for row in read] == [
        (row["method"], pytest.approx(row["val_mae"] if row["val_mae"] is not None else float("nan"), nan_ok=True))
        for row in rows
    ]
    lines = xtlray("leaderboard", "--format", "md")[1].splitlines()
    table = [line for line in xtlray("leaderboard")[1].splitlines() if "\u2500" not in line]
    assert lines[0].startswith("| target | method | source | val MAE |")
    assert lines[2].startswith("| user/gap | sc-dl-ef |  | 0.25 | 0.5 |")
    assert len(lines) - 1 == len(table) == 8


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--status", "failed"), [("user/klu", "base")]),
        (("--source", "m"), [("user/gap", "tl-finetune")] * 2),
        (("--source", "scratch", "--method", "sc-*"), [("user/gap", "sc-dl-ef")] * 2),
        (("--sort", "method", "--target", "user/gap", "--run", RUNS[1], "--reverse"),
         [("user/gap", "tl-finetune"), ("user/gap", "sc-dl-ef"), ("user/gap", "base")]),
        (("--view", "best"), [("user/gap", "sc-dl-ef")]),
    ],
)  # fmt: skip
def test_some_of_the_rows(
    xtlray: Callable[..., Said], runs: Store, words: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    code, out, _ = xtlray("leaderboard", *words, "--json")
    assert code == 0
    assert [(row["target"], row["method"]) for row in json.loads(out)] == expected


def test_history_is_by_publication_or_end(xtlray: Callable[..., Said], runs: Store) -> None:
    keep(runs, "better", result("user/gap", "base", 0.125, run="run-00000003"))
    finish(runs, "run-00000003")
    publish(runs, "run-00000003", "better", "user/gap@2", created="2026-01-03T00:00:00Z")
    for _ in range(2):  # from the runs, and from the table
        (first, second) = json.loads(xtlray("leaderboard", "--view", "history", "--json")[1])
        assert (first["when"], first["method"], first["reason"]) == ("2026-01-01T00:01:00Z", "sc-dl-ef", "first")
        assert (second["when"], second["model"], second["reason"]) == (
            "2026-01-03T00:00:00Z",
            "user/gap@2",
            "50.0% lower",
        )
    assert "50.0% lower" in xtlray("leaderboard", "--view", "history", "--format", "md")[1]


def test_sources_and_methods(xtlray: Callable[..., Said], store: Store, results: list[ResultRecord]) -> None:
    scratch, carried = (
        json.loads(xtlray("leaderboard", "--view", "sources", "--json")[1]),
        xtlray("leaderboard", "--view", "sources")[1],
    )
    assert [tuple(row) for row in scratch] == [views.SOURCES]
    assert "from scratch" in carried
    rows = json.loads(xtlray("leaderboard", "--view", "methods", "--json")[1])
    assert [(row["method"], row["better"], row["targets"]) for row in rows] == [
        ("tl-finetune", 1, 1),
        ("sc-dl-ef", 0, 1),
    ]
    lines = xtlray("leaderboard", "--view", "methods", "--format", "md")[1].splitlines()
    assert lines == [
        "| better than → | tl-finetune | sc-dl-ef |",
        "| --- | --- | --- |",
        "| tl-finetune |  | 1/1 |",
        "| sc-dl-ef | 0/1 |  |",
    ]


@pytest.mark.parametrize("view", ["best", "methods", "sources", "history"])
def test_views_of_nothing(xtlray: Callable[..., Said], view: str) -> None:
    assert xtlray("leaderboard", "--view", view, "--json")[:2] == (0, "[]\n")
    code, out, err = xtlray("leaderboard", "--view", view)
    assert (code, out) == (0, "")
    assert err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sort", "test_mea"), "test_mae"),
        (("--view", "sources", "--sort", "test_mae"), "no column of that name"),
        (("--method", "sc-dl-fe"), "sc-dl-ef"),
        (("--source", "n@1"), "m@1"),
        (("--view", "bets"), "best"),
        (("--view", "best", "--rescore"), "different questions"),
        (("--published", "--sort", "target"), "--published has an order of its own"),
        (("--rebuild", "--view", "best", "--run", RUNS[0]), "Got: --run and --view"),
        (("--run", "run-0000001"), f"Got: 'run-0000001'. Allowed: nearest known names are {RUNS[0]}"),
        (("--run", "../models"), "no run of that name"),
    ],
)
def test_what_is_not_there_is_refused(
    xtlray: Callable[..., Said], runs: Store, words: tuple[str, ...], message: str
) -> None:
    code, out, err = xtlray("leaderboard", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_the_tables_made_anew(xtlray: Callable[..., Said], runs: Store) -> None:
    xtlray("leaderboard")
    before = DeltaTable(runs.url_of("leaderboard/results")).version()
    code, out, _ = xtlray("leaderboard", "--rebuild", "--json")
    found = json.loads(out)
    assert (code, found["rows_of_results"], found["rows_of_trials"]) == (0, 7, 6)
    assert found["results_table"] == runs.url_of("leaderboard/results")
    table = DeltaTable(found["results_table"])
    assert table.version() == before + 1
    assert len(table.to_pyarrow_table()) == 7
    assert "tables" not in xtlray("leaderboard")[2]


def test_damaged_tables_are_said_and_the_rows_are_right(xtlray: Callable[..., Said], runs: Store) -> None:
    _, expected, _ = xtlray("leaderboard", "--json")
    for key in runs.list("leaderboard/results"):
        if key.endswith(".parquet"):
            runs.delete([key])
    code, out, err = xtlray("leaderboard", "--json")
    assert (code, out) == (0, expected)
    assert "cannot be read" in err
    assert "leaderboard --rebuild" in err
    assert xtlray("leaderboard", "--rebuild")[0] == 0
    assert xtlray("leaderboard", "--json") == (0, expected, "")
