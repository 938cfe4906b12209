"""The board is what lies in the runs, whatever state the tables are in; and it is read from them where they have it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake

from tests.leaderboard.runs import EVERY_RESULT, EVERY_TRIAL, RUNS, fill, finish, names_of, publish
from tests.leaderboard.test_fold import result
from tests.leaderboard.test_tables import cut, scribble
from xtlray.errors import StoreError
from xtlray.leaderboard.board import Board, fold_run, keep_up, read_board
from xtlray.leaderboard.fold import read_results
from xtlray.leaderboard.rows import RESULTS, TRIALS
from xtlray.store import Store


@pytest.fixture
def store(store: Store) -> Store:
    for run in RUNS:
        fill(store, run)
        finish(store, run)
        publish(store, run, "base", f"user/gap@{run[-1]}")
    return store


class Counting:
    """Counts the files of runs that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        get = Store.get

        def counted(store: Store, key: str) -> bytes:
            self.keys.append(key)
            return get(store, key)

        monkeypatch.setattr(Store, "get", counted)

    def of_results(self) -> list[str]:
        return [key for key in self.keys if "/results/" in key]


def up_to_date(store: Store) -> Board:
    keep_up(store, read_board(store))
    return read_board(store)


def test_read_from_the_table_once_it_has_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_board(store)
    assert before.behind == [*RUNS]
    assert before.results == read_results(store)
    keep_up(store, before)
    reads = Counting(monkeypatch)
    after = read_board(store)
    assert reads.keys == []
    assert (after.results, after.dates, after.behind) == (before.results, before.dates, [])
    assert [row.model for row in after.results] == ["user/gap@1", None, "user/gap@2", None]
    fill(store, "run-00000003")
    assert read_board(store).behind == ["run-00000003"]
    assert {key.split("/")[1] for key in reads.of_results()} == {"run-00000003"}


def test_of_one_run(store: Store) -> None:
    for _ in range(2):
        board = read_board(store, [RUNS[1]])
        assert [(row.run, row.method) for row in board.results] == [(RUNS[1], "base"), (RUNS[1], "sc-dl-ef")]
        assert read_board(store, ["run-00000009"]).results == []
        keep_up(store, board)
    assert names_of(store, RESULTS) == EVERY_RESULT[2:]


def damaged(store: Store) -> None:
    cut(store)


def without_some(store: Store) -> None:
    DeltaTable(store.url_of(RESULTS.folder)).delete(f"run = '{RUNS[0]}' AND method = 'base'")


def foreign(store: Store) -> None:
    changed = DeltaTable(store.url_of(RESULTS.folder)).to_pyarrow_table()
    place = changed.column_names.index("config")
    changed = changed.set_column(place, "config", [["no JSON"] * len(changed)])
    write_deltalake(store.url_of(RESULTS.folder), changed, mode="overwrite")


def gone(store: Store) -> None:
    store.delete(store.list("leaderboard"))


@pytest.mark.parametrize("happens", [damaged, scribble, without_some, foreign, gone])
def test_right_whatever_the_table(
    store: Store, happens: Callable[[Store], None], caplog: pytest.LogCaptureFixture
) -> None:
    expected = up_to_date(store)
    happens(store)
    with caplog.at_level(logging.INFO):
        board = read_board(store)
        assert (board.results, board.dates) == (expected.results, expected.dates)
        keep_up(store, board)
    assert "the leaderboard's tables" in caplog.text  # a word, at least
    assert read_board(store).results == expected.results


def test_changes_after_a_fold_are_seen(store: Store) -> None:
    run = "run-00000003"
    fill(store, run, methods=("base",))
    assert up_to_date(store).results[-1].model is None
    publish(store, run, "base", "user/other@5")
    board = read_board(store)
    assert (board.behind, board.results[-1].model) == ([run], "user/other@5")
    assert (run, "user/gap", "base", None) in board.dates
    keep_up(store, board)
    assert read_board(store).behind == []
    finish(store, run)
    assert read_board(store).behind == [run]
    assert up_to_date(store).behind == []


def test_a_model_that_is_deleted_leaves_the_board_and_one_that_is_put_back_returns(store: Store) -> None:
    def models() -> list[str | None]:
        return [row.model for row in read_board(store).results]

    up_to_date(store)
    card = store.get("models/user/gap/1/card.json")
    store.delete(["models/user/gap/1/card.json"])
    assert models() == [None, None, "user/gap@2", None]
    assert models() == [row.model for row in read_results(store)]
    store.create("models/user/gap/1/card.json", card)
    assert models() == ["user/gap@1", None, "user/gap@2", None]


def test_a_run_that_is_deleted_leaves_board_and_tables(store: Store) -> None:
    up_to_date(store)
    store.delete(store.list(f"runs/{RUNS[0]}"))
    board = read_board(store)
    assert {row.run for row in board.results} == {RUNS[1]}
    keep_up(store, board)
    assert names_of(store, RESULTS) == EVERY_RESULT[2:]
    assert names_of(store, TRIALS) == EVERY_TRIAL[3:]


def test_a_damaged_result_is_named_unless_the_table_has_it(store: Store) -> None:
    up_to_date(store)
    store.create("runs/run-00000003/results/transfer/x.json", b"{}")
    with pytest.raises(StoreError, match=r"runs/run-00000003/results/transfer/x\.json"):
        read_board(store)
    key = f"runs/{RUNS[0]}/results/transfer/base.json"
    store.delete([key, "runs/run-00000003/results/transfer/x.json"])
    store.create(key, b"{}")
    assert len(read_board(store).results) == 4


def test_trials_of_a_run_without_results_are_kept_up_with(store: Store) -> None:
    run = "run-00000003"
    fill(store, run, methods=(), trials=2)
    board = up_to_date(store)
    assert (board.behind, board.without) == ([], [run])
    assert names_of(store, TRIALS) == [*EVERY_TRIAL, (run, "t0"), (run, "t1")]
    fill(store, run, methods=(), trials=3)
    keep_up(store, board)
    assert names_of(store, TRIALS) == [*EVERY_TRIAL, (run, "t0"), (run, "t1"), (run, "t2")]


def test_a_run_that_ends_is_folded_if_it_has_anything(store: Store) -> None:
    store.create_json("runs/pretrain-00000001/outcome.json", {})
    fold_run(store, "pretrain-00000001")
    assert store.list("leaderboard") == []
    fold_run(store, RUNS[0])
    assert names_of(store, RESULTS) == EVERY_RESULT[:2]
    assert names_of(store, TRIALS) == EVERY_TRIAL[:3]


def test_a_store_that_is_read_only_gets_no_tables(store: Store) -> None:
    for_reading = Store(store.url, read_only=True)
    board = read_board(for_reading)
    keep_up(for_reading, board)
    assert (len(board.results), store.list("leaderboard")) == (4, [])


def test_a_folder_where_nothing_can_be_written(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.create("leaderboard", b"a file where the folder should be")
    board = read_board(store)
    keep_up(store, board)
    assert len(board.results) == 4
    assert caplog.text.count("tables are not up to date") == 1
    fold_run(store, RUNS[0])
    assert caplog.text.count("tables are not up to date") == 2


@pytest.mark.parametrize("outcome", [{}, {"attempt": 7, "seconds": 1.0}, {"attempt": 1}, [], "done"])
def test_a_run_whose_end_cannot_be_dated(store: Store, outcome: Any) -> None:
    run = "run-00000003"
    fill(store, run, methods=("base",))
    store.create_json(f"runs/{run}/attempts/1/environment.json", {"started": "2026-01-01T00:00:00Z"})
    store.create_json(f"runs/{run}/outcome.json", outcome)
    board = up_to_date(store)
    assert board.behind == []
    assert (run, "user/gap", "base", None) not in board.dates


def test_results_of_a_copied_run_are_shown_as_they_are(store: Store) -> None:
    store.create_json("runs/copied/results/transfer/base.json", result(run=RUNS[0]).as_json())
    for _ in range(2):
        board = up_to_date(store)
        assert [row.run for row in board.results] == [RUNS[0], *[run for run in RUNS for _ in "ab"]]
    assert names_of(store, RESULTS) == EVERY_RESULT


def test_files_of_another_program_among_the_runs(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("runs", f"runs/{RUNS[0]}/trials", f"runs/{RUNS[0]}/results/transfer"):
        store.create(f"{folder}/.DS_Store", b"x")
    assert len(up_to_date(store).results) == 4
    assert (names_of(store, RESULTS), names_of(store, TRIALS)) == (EVERY_RESULT, EVERY_TRIAL)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_store_without_runs(tmp_path: Path) -> None:
    empty = Store.open(str(tmp_path / "empty"))
    board = up_to_date(empty)
    assert (board.results, board.behind, board.without) == ([], [], [])
    assert empty.list("") == []
