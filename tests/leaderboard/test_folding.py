"""Runs into tables: everything once, whoever folds, however often and however many at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from deltalake import DeltaTable

from tests.leaderboard.runs import (
    EVERY_RESULT,
    EVERY_TRIAL,
    RUNS,
    fill,
    finish,
    names_of,
    publish,
    rows_of,
    versions,
)
from xtlray.leaderboard import folding, tables
from xtlray.leaderboard.folding import fold, fold_all
from xtlray.leaderboard.rows import RESULTS, TRIALS
from xtlray.leaderboard.tables import Change, Table, TableError, change
from xtlray.store import Store

pytestmark = pytest.mark.usefixtures("two_runs")

# --- once -------------------------------------------------------------------------------------------------------------


def test_folded_as_often_as_you_like(store: Store) -> None:
    fold(store, RUNS)
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL
    before = versions(store)
    for runs in (RUNS, RUNS[:1], RUNS[::-1]):
        fold(store, runs)
    assert versions(store) == before  # there was nothing to do, and nothing was written


def test_what_a_row_says(store: Store) -> None:
    fold(store, RUNS)
    first = rows_of(store, RESULTS)[0]
    assert (first["target"], first["method"], first["val_mae"], first["config"]) == (
        "user/gap",
        "base",
        1 / 3,
        '{"lr": [0.1]}',
    )
    assert first["model"] == "user/gap@1"
    assert [first[name].isoformat() for name in ("published", "finished")] == [
        "2026-01-01T00:00:30+00:00",
        "2026-01-01T00:01:00+00:00",
    ]


def test_a_run_that_goes_on_after_it_was_folded(store: Store) -> None:
    run = "run-00000003"
    fill(store, run, methods=(), trials=2)
    fold(store, [run])
    assert names_of(store, TRIALS) == [(run, "t0"), (run, "t1")]
    assert rows_of(store, RESULTS) == []
    fill(store, run, methods=("base",), trials=4)
    fold(store, [run])
    (row,) = rows_of(store, RESULTS)
    assert (row["model"], row["finished"]) == (None, None)
    publish(store, run, "base", "user/gap@7")
    finish(store, run)
    fold(store, [run])
    (row,) = rows_of(store, RESULTS)
    assert (row["model"], row["finished"].isoformat()) == ("user/gap@7", "2026-01-01T00:01:00+00:00")
    assert names_of(store, TRIALS) == [(run, f"t{n}") for n in range(4)]


def test_a_model_that_was_made_again_after_it_had_been_deleted(store: Store) -> None:
    again = {"name": "user/gap", "version": 12, "result": "base.json", "card": {"created": "2026-01-01T00:00:40Z"}}
    store.create_json(f"runs/{RUNS[0]}/published/user/gap/2.json", again)
    fold(store, RUNS)
    assert rows_of(store, RESULTS)[0]["model"] == "user/gap@12"


def test_a_run_that_was_deleted(store: Store) -> None:
    fold(store, RUNS)
    store.delete(store.list(f"runs/{RUNS[0]}"))
    fold(store, RUNS)
    assert names_of(store, RESULTS) == EVERY_RESULT[2:]
    assert names_of(store, TRIALS) == EVERY_TRIAL[3:]


def test_a_quote_in_a_runs_name_is_a_quote(store: Store) -> None:
    odd = "o'brien') OR ('1' = '1"
    fill(store, odd)
    for runs in (RUNS, [odd], [odd]):
        fold(store, runs)
    store.delete([f"runs/{odd}/trials/t0.json", f"runs/{odd}/results/transfer/base.json"])
    fold(store, [odd])
    assert names_of(store, RESULTS) == [(odd, "sc-dl-ef.json"), *EVERY_RESULT]
    assert names_of(store, TRIALS) == [(odd, "t1"), (odd, "t2"), *EVERY_TRIAL]


def test_many_runs_go_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "PART", 1)
    fold(store, RUNS)
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert versions(store) == [2, 2]  # made, and a commit for each


# --- at once ----------------------------------------------------------------------------------------------------------


def test_many_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: fold(store, RUNS if n % 2 else RUNS[:1]), range(8)))
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL


def overtaken(store: Store, by: Callable[[], None], asked: list[int]) -> Callable[[Table], Change | None]:
    """Looks at the first run as a fold does; on its first time another is faster in between."""

    def decide(table: Table) -> Change | None:
        asked.append(1)
        wanted = folding._results(store, RUNS[:1], table)
        if len(asked) == 1:
            by()
        return wanted

    return decide


@pytest.mark.parametrize("faster", ["fold", "rebuild"])
def test_whoever_was_overtaken_looks_again(store: Store, faster: str) -> None:
    asked: list[int] = []
    fold(store, RUNS[1:])
    by = partial(fold, store, RUNS[:1]) if faster == "fold" else partial(fold_all, store)
    assert change(store, RESULTS, overtaken(store, by, asked)) is False
    assert len(asked) == 2
    assert names_of(store, RESULTS) == EVERY_RESULT


def test_a_rebuild_that_was_overtaken_looks_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fold(store, RUNS[1:])
    refill, tried = Table.refill, []

    def late(table: Table, wanted: Change) -> None:
        tried.append(table.layout.name)
        if tried.count(table.layout.name) == 1:
            fold(store, RUNS[:1])
        refill(table, wanted)

    monkeypatch.setattr(Table, "refill", late)
    fold_all(store)
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL


def test_another_runs_commit_is_no_hindrance(store: Store) -> None:
    asked: list[int] = []
    assert change(store, RESULTS, overtaken(store, partial(fold, store, RUNS[1:]), asked)) is True
    assert len(asked) == 1
    assert names_of(store, RESULTS) == EVERY_RESULT


def test_an_older_look_does_not_undo_a_newer_one(store: Store) -> None:
    """Whoever saw the run unfinished commits after one who saw it finished."""
    run = "run-00000003"
    fill(store, run, methods=("base",))
    asked: list[int] = []

    def decide(table: Table) -> Change | None:
        asked.append(1)
        wanted = folding._results(store, [run], table)
        if len(asked) == 1:
            finish(store, run)
            fold(store, [run])
        return wanted

    assert change(store, RESULTS, decide) is False
    (row,) = rows_of(store, RESULTS)
    assert row["finished"] is not None


def test_a_commit_whose_answer_was_lost_is_met_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, stale = Table.commit, []

    def twice(table: Table, wanted: Change) -> None:
        again = Table(table.layout, DeltaTable(store.url_of(table.layout.folder)))
        commit(table, wanted)
        stale.append(table.layout.name)
        commit(again, wanted)  # as a client does that has got no answer: from the version that it knew

    monkeypatch.setattr(Table, "commit", twice)
    fold(store, RUNS)
    assert stale == ["trials", "results"]
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL


def test_too_many_at_once_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "TRIES", 3)

    part = Change(RUNS[:1], RESULTS.table(folding._result_rows(store, RUNS[0])[:1]), replace=True)

    def decide(table: Table) -> Change | None:
        wanted = folding._results(store, RUNS[:1], table)
        Table(RESULTS, DeltaTable(store.url_of(RESULTS.folder))).commit(part)
        return wanted

    with pytest.raises(TableError, match=r"by too many at once.*adds what is missing"):
        change(store, RESULTS, decide)


def test_many_files_become_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FILES", 4)
    for n in range(3, 9):
        fill(store, f"run-0000000{n}", methods=("base",))
        fold(store, [f"run-0000000{n}"])
    assert len(DeltaTable(store.url_of(RESULTS.folder)).file_uris()) < 4
    fold(store, RUNS)
    assert names_of(store, RESULTS) == EVERY_RESULT + [(f"run-0000000{n}", "base.json") for n in range(3, 9)]


def test_rows_are_kept_where_files_cannot_be_cleared_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no right to delete")

    monkeypatch.setattr(tables, "FILES", 1)
    monkeypatch.setattr(DeltaTable, "vacuum", refuse)
    fold(store, RUNS)
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL
