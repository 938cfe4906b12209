"""Predictions at scale that are killed: the same command again completes them, each row once, by the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import tiny
from tests.faults.conftest import Start
from tests.faults.harness import Program, kill, wait_for
from xtlray.registry.model import load_model
from xtlray.registry.promotion import move_best
from xtlray.registry.versions import resolve
from xtlray.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

FILES, ROWS = 120, 1500
BAD = 7  # every so many rows there is one that is no formula


def formula(file: int, row: int) -> str:
    return "Xx2O" if row % BAD == 3 else f"Li{row + 1}Fe{file + 1}O2"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Many small files, each a part: so that there is always one being written."""
    folder = tmp_path / "in"
    folder.mkdir()
    for file in range(FILES):
        texts = [formula(file, row) for row in range(ROWS)]
        table = pa.table({"formula": texts, "file": [file] * ROWS, "row": list(range(ROWS))})
        pq.write_table(table, folder / f"{file:03d}.parquet")
    return folder


def parts(output: Path) -> dict[str, int]:
    """When each part was written, by name."""
    return {path.name: path.stat().st_mtime_ns for path in output.glob("*.parquet")} if output.is_dir() else {}


def test_killed_anywhere_and_given_again(start: Start, store: Store, inputs: Path, tmp_path: Path) -> None:
    data = tiny.dataset(store)
    move_best(store, tiny.model(store, data=data), 0.5, "s", "p")
    output = tmp_path / "out"
    command = ("predict", "user/gap@best", "--input", str(inputs), "--output", f"{output}/")

    def until(count: int) -> Program:
        program = start(*command)
        wait_for(lambda: len(parts(output)) >= count or program.popen.poll() is not None, f"{count} parts")
        assert program.popen.poll() is None, program.said
        return program

    until(1).kill_all()
    first = parts(output)
    until(len(first) + 5).kill_driver()  # what it has started must see to itself
    move_best(store, tiny.model(store, run="run-00000002", members=[tiny.net_member(9)], data=data), 0.1, "s", "p")
    until(len(parts(output)) + 5).kill_all()
    second = parts(output)
    assert len(second) < FILES
    last = until(len(second) + 2)
    kill(wait_for(lambda: last.processes("make_part"), "a process at work")[0])  # Ray has another do its piece
    answer: dict[str, Any] = last.done()

    assert (answer["model"], answer["rows"], answer["parts"]) == ("user/gap@1", FILES * ROWS, FILES)
    assert answer["unanswered"] == FILES * len(range(3, ROWS, BAD))
    now = parts(output)
    assert {name: now[name] for name in second} == second
    assert {name: now[name] for name in first} == first
    found = pa.concat_tables([pq.read_table(output / name) for name in sorted(now)])
    assert found["file"].to_pylist() == [file for file in range(FILES) for _ in range(ROWS)]
    assert found["row"].to_pylist() == list(range(ROWS)) * FILES
    texts = [formula(file, row) for file in range(FILES) for row in range(ROWS)]
    assert found["formula"].to_pylist() == texts
    some = slice(0, len(texts), 997)
    expected = load_model(resolve(store, "user/gap@1")).predict(texts[some])["value"]
    assert found["value"].to_pandas()[some].tolist() == pytest.approx(expected.tolist(), rel=1e-6, nan_ok=True)
