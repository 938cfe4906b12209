"""Predictions at scale that are killed: the same command again completes them, each row once, by the same model."""

from __future__ import annotations

import io
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


def fill(inputs: Store) -> None:
    """Many small files, each a part: so that there is always one being written."""
    for file in range(FILES):
        texts = [formula(file, row) for row in range(ROWS)]
        table = pa.table({"formula": texts, "file": [file] * ROWS, "row": list(range(ROWS))})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        inputs.create(f"{file:03d}.parquet", buffer.getvalue())


def parts(output: Store) -> dict[str, Any]:
    """When each part was written, by name."""
    return {item.key: item.modified for item in output.listing("") if item.key.endswith(".parquet")}


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Store]:
    """Where the input lies, and where the output goes."""
    if request.param == "folder":
        return Store.open(str(tmp_path / "in")), Store.open(str(tmp_path / "out"))
    s3: Store = request.getfixturevalue("s3_store")
    return Store.open(f"{s3.url}/in"), Store.open(f"{s3.url}/out")


def test_killed_anywhere_and_given_again(start: Start, store: Store, place: tuple[Store, Store]) -> None:
    inputs, output = place
    fill(inputs)
    data = tiny.dataset(store)
    move_best(store, tiny.model(store, data=data), 0.5, "s", "p")
    command = ("predict", "user/gap@best", "--input", f"{inputs.url}/*.parquet", "--output", f"{output.url}/")

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
    found = pa.concat_tables([pq.read_table(io.BytesIO(output.get(name))) for name in sorted(now)])
    assert found["file"].to_pylist() == [file for file in range(FILES) for _ in range(ROWS)]
    assert found["row"].to_pylist() == list(range(ROWS)) * FILES
    texts = [formula(file, row) for file in range(FILES) for row in range(ROWS)]
    assert found["formula"].to_pylist() == texts
    some = slice(0, len(texts), 997)
    expected = load_model(resolve(store, "user/gap@1")).predict(texts[some])["value"]
    assert found["value"].to_pandas()[some].tolist() == pytest.approx(expected.tolist(), rel=1e-6, nan_ok=True)
