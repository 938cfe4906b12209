"""Predictions at scale by Ray's processes: the same folder as by this process alone, and errors as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data import serial
from xtlray.data import bulk
from xtlray.data.bulk import Job, predict_all
from xtlray.data.crew import RayCrew
from xtlray.data.prediction_folder import Manifest, claim
from xtlray.data.sources import find_inputs
from xtlray.errors import StoreError
from xtlray.store import Store

pytestmark = pytest.mark.ray


@contextmanager
def crew() -> Iterator[RayCrew]:
    yield RayCrew()


def run(folder: Path, output: Path, load: Any) -> Manifest:
    files = find_inputs([str(folder)], output.as_uri())
    plan = serial.plan_of(files)
    claim(Store.open(str(output)), plan)
    return predict_all(Job(tuple(files), Store.open(str(output)), plan.identity(), load), plan, crew)


@pytest.fixture
def lengths() -> Callable[[], Any]:
    """`serial.lengths` for processes that do not have the tests: Ray sends what is defined in a function as it is."""

    def load() -> Callable[[pa.Array], dict[str, pa.Array]]:
        import pyarrow.compute as pc

        def answer(formulas: pa.Array) -> dict[str, pa.Array]:
            value = pc.utf8_length(formulas).cast(pa.float64())
            texts = pa.nulls(len(formulas), pa.string())
            return {"value": value, "unit": texts, "spread": value, "lower": value, "upper": value, "warning": texts}

        return answer

    return load


def test_a_folder_of_files(local_ray: Any, tmp_path: Path, lengths: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_BIG", 1000)  # so that the CSVs are looked through in processes of their own
    (tmp_path / "in").mkdir()
    rows = 120_000
    frame = pd.DataFrame({"formula": [f"Li{n}" for n in range(rows)], "n": range(rows)})
    frame.to_parquet(tmp_path / "in" / "b.parquet", index=False)
    frame.iloc[:500].to_csv(tmp_path / "in" / "a.csv", index=False)
    frame.iloc[:700].to_csv(tmp_path / "in" / "c.csv", index=False)
    (tmp_path / "in" / "d.csv").write_text("nothing\n" * 500)
    made = run(tmp_path / "in", tmp_path / "out", lengths)
    assert [(part.file, part.start, part.rows) for part in made.parts] == [
        (0, 0, 500),
        *((1, 0, 50_000), (1, 50_000, 50_000), (1, 100_000, 20_000)),
        (2, 0, 700),
    ]
    assert [Path(each.file).name for each in made.refused] == ["d.csv"]
    found = pd.concat([pq.read_table(tmp_path / "out" / part.part).to_pandas() for part in made.parts[1:4]])
    assert found["n"].tolist() == list(range(rows))
    assert found["value"].tolist() == [len(f"Li{n}") for n in range(rows)]


def test_an_error_of_the_model_comes_through(local_ray: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("formula\nLiO\n")

    def load() -> Any:
        raise StoreError("A file of a model is not the one that was published", got="weights")

    with pytest.raises(StoreError, match=r"not the one that was published.*weights"):
        run(tmp_path / "in", tmp_path / "out", load)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_plan.json"]
