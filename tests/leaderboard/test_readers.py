"""Other programs read the tables, with no code of ours."""

from __future__ import annotations

import json

import duckdb
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.leaderboard.runs import (
    EVERY_RESULT,
    EVERY_TRIAL,
    RUNS,
    publish,
)
from xtlray.leaderboard import rows
from xtlray.leaderboard.folding import fold, fold_all
from xtlray.leaderboard.rows import RESULTS, TRIALS
from xtlray.store import Store

pytestmark = pytest.mark.usefixtures("two_runs")

# --- other programs ---------------------------------------------------------------------------------------------------


def test_old_readers_suffice(store: Store) -> None:
    fold(store, RUNS)
    fold(store, RUNS[:1])
    for layout in rows.TABLES:
        protocol = DeltaTable(store.url_of(layout.folder)).protocol()
        assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
        assert not protocol.reader_features
        assert not protocol.writer_features


def test_pandas_reads_them(store: Store) -> None:
    fold(store, RUNS)
    trials = DeltaTable(store.url_of(TRIALS.folder)).to_pandas()
    assert trials.groupby("run").size().to_dict() == dict.fromkeys(RUNS, 3)
    assert trials["val_mae"].sum() == pytest.approx(2.0)
    results = DeltaTable(store.url_of(RESULTS.folder)).to_pandas()
    assert str(results["finished"].dtype) == "datetime64[us, UTC]"


def test_duckdb_reads_them_as_deltalake_hands_them_over(store: Store) -> None:
    """DuckDB's own reader of Delta tables is an extension that it would download; see the last of these tests."""
    fold(store, RUNS)
    trials = DeltaTable(store.url_of(TRIALS.folder)).to_pyarrow_dataset()  # noqa: F841
    results = DeltaTable(store.url_of(RESULTS.folder)).to_pyarrow_dataset()  # noqa: F841
    found = duckdb.sql(
        "SELECT r.run, r.method, r.model, count(*), min(t.val_mae) FROM results r JOIN trials t USING (run) "
        "WHERE r.val_mae < 0.3 GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert found == [(run, "sc-dl-ef", None, 3, 0.0) for run in RUNS]


def test_duckdb_reads_them_by_their_log_alone(store: Store) -> None:
    """The log in SQL, as the Delta protocol has it: what was added and not removed. Neither our code nor delta-rs'."""
    fold(store, RUNS[:1])
    fold(store, RUNS)
    publish(store, RUNS[1], "base", "user/else@1")
    fold_all(store)
    for layout, expected in ((TRIALS, EVERY_TRIAL), (RESULTS, EVERY_RESULT)):
        folder = store.url_of(layout.folder)
        log = f"read_json('{folder}/_delta_log/*.json', columns={{add: 'JSON', remove: 'JSON'}})"
        files = duckdb.sql(
            f"SELECT add->>'path' FROM {log} WHERE add IS NOT NULL "
            f"EXCEPT SELECT remove->>'path' FROM {log} WHERE remove IS NOT NULL"
        ).fetchall()
        paths = [f"{folder}/{path}" for (path,) in files]
        found = duckdb.sql(f"SELECT run, {layout.key} FROM read_parquet({paths}) ORDER BY ALL").fetchall()
        assert found == expected
        (config,) = duckdb.sql(f"SELECT DISTINCT config->'lr' FROM read_parquet({paths})").fetchall()
        assert json.loads(config[0]) in (0.1, [0.1])


def test_duckdb_reads_them_by_its_own_extension(store: Store) -> None:
    database = duckdb.connect(config={"autoinstall_known_extensions": False})
    try:
        database.sql("LOAD delta")
    except duckdb.Error:
        pytest.skip("DuckDB's extension for Delta tables is not installed: duckdb.sql('INSTALL delta') downloads it")
    fold(store, RUNS)
    trials = store.url_of(TRIALS.folder)
    found = database.sql(f"SELECT run, trial FROM delta_scan('{trials}') ORDER BY ALL").fetchall()
    assert found == EVERY_TRIAL


def test_the_files_are_of_a_compression_that_all_read(store: Store) -> None:
    fold(store, RUNS)
    (file,) = DeltaTable(store.url_of(RESULTS.folder)).file_uris()
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "SNAPPY"
