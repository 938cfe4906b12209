"""Tables made anew, older and newer ones, damaged ones, and ones that cannot be written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.leaderboard.runs import (
    EVERY_RESULT,
    EVERY_TRIAL,
    RUNS,
    names_of,
    rows_by_us,
    rows_of,
    versions,
)
from tests.leaderboard.test_fold import result
from xtlray.leaderboard import folding, rows, tables
from xtlray.leaderboard.folding import fold, fold_all
from xtlray.leaderboard.rows import RESULTS, TRIALS
from xtlray.leaderboard.tables import TableError
from xtlray.store import Store

pytestmark = pytest.mark.usefixtures("two_runs")

# --- anew, and from older tables --------------------------------------------------------------------------------------


def test_rebuilt_is_as_folded(store: Store) -> None:
    for run in RUNS:
        fold(store, [run])
    folded = [rows_of(store, layout) for layout in rows.TABLES]
    assert fold_all(store) == {"trials": 6, "results": 4}
    assert [rows_of(store, layout) for layout in rows.TABLES] == folded
    before = versions(store)
    fold(store, RUNS)
    assert versions(store) == before


@pytest.mark.parametrize("rebuilt", [False, True])
def test_an_older_table_gets_the_new_column(store: Store, rebuilt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for layout, column in ((RESULTS, "hardware"), (TRIALS, "epochs")):
        fold(store, RUNS)
        kept = DeltaTable(store.url_of(layout.folder)).to_pyarrow_table().drop_columns([column])
        write_deltalake(store.url_of(layout.folder), kept, mode="overwrite", schema_mode="overwrite")
    for module in (rows, folding, tables):
        monkeypatch.setattr(module, "TABLE_VERSION", 2)
    if rebuilt:
        fold_all(store)
    else:
        fold(store, RUNS[:1])
        assert names_of(store, RESULTS) == EVERY_RESULT  # those of the other run are still as they were
        fold(store, RUNS)
    for layout in rows.TABLES:
        found = rows_of(store, layout)
        assert {row["table_version"] for row in found} == {2}
        assert {*found[0]} == {*layout.columns}
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL
    assert {row["epochs"] for row in rows_of(store, TRIALS)} == {2}


@pytest.mark.parametrize("how", ["column", "version"])
def test_a_table_of_a_newer_xtlray_is_left_alone(
    store: Store, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fold(store, RUNS[:1])
    for layout in rows.TABLES:
        kept = DeltaTable(store.url_of(layout.folder)).to_pyarrow_table()
        if how == "column":
            kept = kept.append_column("new", pa.array([1] * len(kept)))
        else:
            place = kept.column_names.index("table_version")
            kept = kept.set_column(place, "table_version", pa.array([99] * len(kept)))
        write_deltalake(store.url_of(layout.folder), kept, mode="overwrite", schema_mode="overwrite")
    before = versions(store)
    fold(store, RUNS)
    assert "written by a newer xtlray" in caplog.text
    with pytest.raises(TableError, match=r"newer xtlray.*upgrade"):
        fold_all(store)
    assert versions(store) == before


# --- damage -----------------------------------------------------------------------------------------------------------


def cut(store: Store) -> None:
    for layout in rows.TABLES:
        for file in DeltaTable(store.url_of(layout.folder)).file_uris():
            Path(file).write_bytes(Path(file).read_bytes()[:100])


def scribble(store: Store) -> None:
    for layout in rows.TABLES:
        Path(store.url_of(layout.folder), "_delta_log", f"{0:020}.json").write_text("{scribble")


@pytest.mark.parametrize("damage", [cut, scribble])
def test_damaged_tables_are_said_and_made_anew(
    store: Store, damage: Callable[[Store], None], caplog: pytest.LogCaptureFixture
) -> None:
    fold(store, RUNS)
    damage(store)
    with pytest.raises(TableError, match=r"cannot be read.*leaderboard --rebuild"):
        rows_by_us(store)
    fold(store, RUNS)
    assert "tables are not up to date: The leaderboard's table 'trials' cannot be read" in caplog.text
    fold_all(store)
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL


def test_what_a_killed_writer_left_is_in_no_table(store: Store) -> None:
    fold(store, RUNS)
    for layout in rows.TABLES:
        folder = Path(store.url_of(layout.folder))
        (whole, *_) = folder.glob("*.parquet")
        (folder / "part-of-a-killed-one.parquet").write_bytes(whole.read_bytes())
        (folder / "_delta_log" / "_commit_of-a-killed-one.json.tmp").write_text("{")
    fold(store, RUNS)
    assert names_of(store, RESULTS) == EVERY_RESULT
    assert names_of(store, TRIALS) == EVERY_TRIAL


@pytest.mark.parametrize("key", ["trials/t1.json", "results/transfer/base.json"])
def test_a_damaged_run_keeps_no_other_out(store: Store, key: str, caplog: pytest.LogCaptureFixture) -> None:
    store.delete([f"runs/{RUNS[0]}/{key}"])
    store.create(f"runs/{RUNS[0]}/{key}", b"{")
    fold(store, RUNS)
    assert f"{RUNS[0]} is not in the leaderboard's tables: " in caplog.text
    assert f"runs/{RUNS[0]}/{key}" in caplog.text
    assert names_of(store, RESULTS) == EVERY_RESULT[2:]
    assert names_of(store, TRIALS)[-3:] == EVERY_TRIAL[3:]
    counts = fold_all(store)
    assert counts["results" if "results" in key else "trials"] == {"results": 2, "trials": 3}[key.split("/")[0]]


def test_a_copied_runs_results_are_not_taken_for_its_own(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.create_json("runs/copied/results/transfer/base.json", result(run=RUNS[0]).as_json())
    fold(store, ["copied", *RUNS])
    assert f"the results under runs/copied are those of {RUNS[0]}" in caplog.text
    assert names_of(store, RESULTS) == EVERY_RESULT


def test_where_nothing_can_be_written(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.create("leaderboard", b"a file where the folder should be")
    fold(store, RUNS)
    assert "tables are not up to date: The leaderboard's table 'trials' cannot be" in caplog.text


class PanicException(BaseException):
    """What Rust's panics are in Python."""


@pytest.mark.parametrize("error", [PanicException("at the disco"), Exception("of no type"), OSError("x" * 2000)])
def test_whatever_delta_rs_raises_is_said(
    store: Store, error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tables, "DeltaTable", refuse)
    fold(store, RUNS)
    assert f"cannot be read. Got: {type(error).__name__}: {str(error)[:100]}" in caplog.text
    assert len(caplog.text) < 800


def test_ctrl_c_is_none_of_its_errors(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tables, "DeltaTable", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fold(store, RUNS)
