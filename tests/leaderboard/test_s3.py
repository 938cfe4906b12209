"""Tables on S3: nothing twice where answers are lost and requests doubled, no secret in what is said."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from deltalake import DeltaTable

from tests.fake_s3 import CUT, FakeS3
from tests.leaderboard.runs import EVERY_RESULT, EVERY_TRIAL, RUNS, fill, finish, publish
from xtlray.leaderboard import tables
from xtlray.leaderboard.board import keep_up, read_board
from xtlray.leaderboard.entries import still_there
from xtlray.leaderboard.folding import fold, fold_all
from xtlray.leaderboard.rows import RESULTS, TRIALS, Layout
from xtlray.leaderboard.tables import TableError, open_table
from xtlray.store import Store


@pytest.fixture
def store(s3: Store) -> Store:
    for run in RUNS:
        fill(s3, run)
        finish(s3, run)
    return s3


def names_of(store: Store, layout: Layout) -> list[tuple[str, str]]:
    url, options = store.delta(layout.folder)
    found = DeltaTable(url, storage_options=options).to_pyarrow_table(columns=["run", layout.key]).to_pylist()
    return sorted((row["run"], row[layout.key]) for row in found)


def all_once(store: Store) -> bool:
    return (names_of(store, RESULTS), names_of(store, TRIALS)) == (EVERY_RESULT, EVERY_TRIAL)


def test_folded_and_made_anew(store: Store) -> None:
    expected = read_board(store)
    keep_up(store, expected)
    assert all_once(store)
    found = read_board(store)
    assert (found.results, found.behind) == (expected.results, [])
    fold_all(store)
    assert all_once(store)


def test_many_at_once(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: fold(store, RUNS if n % 2 else RUNS[:1]), range(4)))
    assert all_once(store)


@pytest.mark.parametrize("answer", [500, 503, CUT])
@pytest.mark.parametrize("after", range(6))  # puts: the table is made, its rows are written, they are committed; twice
def test_a_put_whose_answer_is_lost(store: Store, fake_s3: FakeS3, answer: int, after: int) -> None:
    fake_s3.put_answers = [200] * after + [answer]
    fold(store, RUNS)
    fold(store, RUNS)  # where the first has given up
    assert fake_s3.put_answers == []
    assert all_once(store)


def test_puts_that_something_on_the_way_doubles(store: Store, fake_s3: FakeS3) -> None:
    fake_s3.doubled_puts = 100
    fold(store, RUNS)
    fold(store, RUNS)
    assert all_once(store)


def test_a_bucket_that_may_only_be_read(
    store: Store, fake_s3: FakeS3, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for stage in range(2):  # without tables, and with some that lack a run
        fake_s3.put_refusals = [403] * 100
        board = read_board(store)
        keep_up(store, board)
        assert len(board.results) == 4 + stage
        assert "tables are not up to date: The leaderboard's table 'trials' cannot be written to" in caplog.text
        fake_s3.put_refusals = []
        caplog.clear()
        fold(store, RUNS)
        fill(store, "run-00000003", methods=("base",))
    assert "panic" not in capfd.readouterr().err  # as delta-rs says on such a bucket


@pytest.mark.parametrize("before", [0, 100, 110, 120, 130])  # the message is shortened, not the secret
def test_no_secret_is_said(
    store: Store, fake_s3: FakeS3, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    secret = fake_s3.environment["AWS_SECRET_ACCESS_KEY"]

    def refused(*_: Any, storage_options: dict[str, str]) -> None:
        key = storage_options["AWS_SECRET_ACCESS_KEY"]
        raise OSError(f"S3 error\n  \x1b[31m↳\x1b[0m {'x' * before} {key} is no key{' of ours' * 100}")

    monkeypatch.setattr(tables, "DeltaTable", refused)
    with pytest.raises(TableError, match=r"OSError: S3 error ↳ (x+ )?\*\*\*.* of ours of ours") as told:
        open_table(store, RESULTS)
    fold(store, RUNS)
    assert "tables are not up to date" in caplog.text
    said = f"{caplog.text} {told.value} {told.value.__cause__}"
    assert [secret[n : n + 6] for n in range(len(secret) - 5) if secret[n : n + 6] in said] == []
    assert "\x1b" not in str(told.value)


def test_which_models_are_there_is_asked_in_one_request_each(store: Store, fake_s3: FakeS3) -> None:
    models = [f"user/gap@{n}" for n in range(1, 9)]
    for n, run in enumerate(("a", "b", "c", "d", "e", "f"), start=1):
        publish(store, run, "base", f"user/gap@{n}")
    store.delete(["models/user/gap/3/card.json"])
    fake_s3.requests.clear()
    assert still_there(store, models) == {f"user/gap@{n}" for n in (1, 2, 4, 5, 6)}
    assert len(fake_s3.requests) == 1
    assert still_there(store, models[1:3]) == {"user/gap@2"}


def test_a_board_that_is_up_to_date_reads_no_result(store: Store, fake_s3: FakeS3) -> None:
    keep_up(store, read_board(store))
    fake_s3.requests.clear()
    assert len(read_board(store).results) == 4
    keys: list[Any] = [path for method, path, *_ in fake_s3.requests if method == "GET" and "list-type" not in path]
    assert keys
    assert [key for key in keys if "/runs/" in key] == []
