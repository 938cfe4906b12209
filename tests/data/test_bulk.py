"""Predictions at any size: every row once and in order, whatever was interrupted, and nothing mixed."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.serial import Killed, Serial, lengths, run
from xtlray.data import bulk, pieces, sources
from xtlray.data.bulk import with_answers
from xtlray.data.pieces import reader_of, survey
from xtlray.data.predictions import carry_through
from xtlray.data.read import read_table
from xtlray.data.sources import find_inputs
from xtlray.errors import MissingKeyError, RequestError, StoreError, WorkError
from xtlray.store import Store

ROWS = 23


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of five rows."""
    monkeypatch.setattr(pieces, "ROWS", 5)


def formula(file: str, row: int) -> str:
    return f"xx{row}" if row % 7 == 3 else f"{file.upper()}{row}"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Three files of 23 rows, of which three have no answer, each in a format of its own."""
    folder = tmp_path / "in"
    folder.mkdir()
    for file in "abc":
        frame = pd.DataFrame({"formula": [formula(file, row) for row in range(ROWS)], "row": range(ROWS)})
        if file == "a":
            frame.to_csv(folder / "a.csv", index=False)
        elif file == "b":
            (folder / "b b.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
        else:
            frame.to_parquet(folder / "c.parquet", index=False, row_group_size=6)
    return folder


def rows_in(output: Path) -> list[dict[str, Any]]:
    """All rows of a folder, part after part by name."""
    return [row for path in sorted(output.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def is_complete(output: Path) -> bool:
    found = rows_in(output)
    assert [(row["formula"], int(row["row"])) for row in found] == [
        (formula(file, row), row) for file in "abc" for row in range(ROWS)
    ]
    for row in found:
        good = row["formula"][0].isupper()
        assert row["value"] == (len(row["formula"]) if good else None)
        assert row["warning"] == (None if good else "not this one")
    return True


def test_files_of_all_kinds(inputs: Path, tmp_path: Path) -> None:
    made = run([inputs], tmp_path / "out")
    assert is_complete(tmp_path / "out")
    assert (made.rows, made.unanswered, made.refused) == (3 * ROWS, 9, [])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    parts = [f"0000{file}-0000{n}-{stem}.parquet" for file, stem in enumerate(("a", "b-b", "c")) for n in range(5)]
    assert names == [*parts, "_manifest.json", "_plan.json"]
    assert [part.part for part in made.parts] == parts
    assert [(part.start, part.rows) for part in made.parts[:5]] == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 3)]
    assert len(pd.read_parquet(tmp_path / "out")) == 3 * ROWS  # a folder as any other program reads it


def test_a_table_has_the_columns_that_a_single_file_has(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("value,Composition,value_input,unit,x\na,LiO,b,c,d\ne,xx,f,g,h\n")
    table = read_table(path)
    answers = [
        {"value": 3.0, "unit": "eV", "spread": 3.0, "lower": None, "upper": None, "warning": None},
        {"value": None, "unit": "eV", "spread": None, "lower": None, "upper": None, "warning": "not this one"},
    ]
    expected = carry_through(table, ["LiO", "xx"], [{"formula": None, **row} for row in answers])
    run([path], tmp_path / "out")
    (part,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_table(part).to_pydict() == expected
    assert list(expected) == pq.read_table(part).column_names


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string_view()])
def test_columns_keep_their_types(kind: pa.DataType) -> None:
    formulas = (
        pa.array(["LiO", None, "xx"]).cast(kind) if kind != pa.string_view() else pa.array(["LiO", None, "xx"], kind)
    )
    deep = pa.array([[{"a": 1}], None, []], pa.list_(pa.struct({"a": pa.int16()})))
    table = pa.table({"deep": deep, "formula": formulas, "when": pa.array([1, 2, 3], pa.timestamp("ns", "UTC"))})
    found = with_answers(table, "a.parquet", lengths())
    assert found["formula"].to_pylist() == ["LiO", None, "xx"]
    assert found["value"].to_pylist() == [3, None, None]
    assert (found["deep"].type, found["when"].type) == (deep.type, pa.timestamp("ns", "UTC"))


def test_files_that_are_no_tables_are_named_and_the_others_done(inputs: Path, tmp_path: Path) -> None:
    (inputs / "aa.csv").write_text("")
    (inputs / "bad.parquet").write_bytes((inputs / "c.parquet").read_bytes()[:-20])
    (inputs / "none.csv").write_text("x,y\n1,2\n")
    for _ in range(2):  # the second time the answer is known
        made = run([inputs], tmp_path / "out")
        assert is_complete(tmp_path / "out")
        reasons = {Path(each.file).name: (each.start, each.reason) for each in made.refused}
        assert sorted(reasons) == ["aa.csv", "bad.parquet", "none.csv"]
        assert {start for start, _ in reasons.values()} == {None}
        assert "is empty" in reasons["aa.csv"][1]
        assert "not a readable Parquet file" in reasons["bad.parquet"][1]
        assert "No column is plainly that of the formulas (the columns 'x', 'y'" in reasons["none.csv"][1]


def test_rows_that_are_damaged_are_named_and_the_others_done(inputs: Path, tmp_path: Path) -> None:
    path = inputs / "c.parquet"
    about = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = min(about.data_page_offset, about.dictionary_page_offset or about.data_page_offset)
    data[start : start + about.total_compressed_size] = b"\xff" * about.total_compressed_size
    path.write_bytes(data)
    made = run([path], tmp_path / "out")
    lost = [each.start for each in made.refused]
    assert lost == [5, 10]  # the second group of six rows: 6 to 11
    assert [int(row["row"]) for row in rows_in(tmp_path / "out")] == [*range(5), *range(15, ROWS)]


def test_no_rows_is_an_empty_part(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("formula,x\n")
    made = run([tmp_path / "a.csv"], tmp_path / "out")
    (part,) = made.parts
    found = pq.read_table(tmp_path / "out" / part.part)
    assert (made.rows, found.num_rows, found.schema.field("value").type) == (0, 0, pa.float64())
    assert found.column_names[-1] == "x"


# --- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [0, 1, 7, 14, 15])
def test_what_was_interrupted_goes_on_with_what_is_missing(inputs: Path, tmp_path: Path, parts: int) -> None:
    output = tmp_path / "out"
    if parts < 15:
        with pytest.raises(Killed):
            run([inputs], output, Serial(parts))
    else:
        run([inputs], output)
        (output / "_manifest.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    assert len(before) == parts
    again = Serial()
    made = run([inputs], output, again)
    assert is_complete(output)
    assert len(again.made) == 15 - parts
    assert {name: (output / name).stat().st_mtime_ns for name in before} == before
    assert (made.rows, made.unanswered, len(made.parts)) == (3 * ROWS, 9, 15)


@pytest.mark.parametrize("writes", range(0, 18, 4))
def test_an_end_at_any_write(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """A plan, fifteen parts, a manifest: the process ends after `writes` of these."""
    create, left = Store.create, iter(range(writes))

    def dying(self: Store, key: str, data: bytes, **options: Any) -> bool:
        if next(left, None) is None:
            raise Killed
        return create(self, key, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "create", dying)
        if writes < 17:
            with pytest.raises(Killed):
                run([inputs], tmp_path / "out")
    assert not (tmp_path / "out" / "_manifest.json").exists()
    run([inputs], tmp_path / "out")
    assert is_complete(tmp_path / "out")


def test_what_is_complete_is_not_done_again(inputs: Path, tmp_path: Path) -> None:
    first = run([inputs], tmp_path / "out")
    again = Serial()
    assert run([inputs], tmp_path / "out", again) == first
    assert again.made == []
    gone = tmp_path / "out" / first.parts[8].part
    gone.unlink()
    assert run([inputs], tmp_path / "out", again) == first
    assert [(piece.file, piece.number) for piece in again.made] == [(1, 3)]
    assert is_complete(tmp_path / "out")


def test_two_at_once_do_no_harm(inputs: Path, tmp_path: Path) -> None:
    class Overtaken(Serial):
        def make(self, *arguments: Any) -> Any:
            for n, found in enumerate(super().make(*arguments)):
                if n == 4:
                    run([inputs], tmp_path / "out")
                yield found

    made = run([inputs], tmp_path / "out", Overtaken())
    assert is_complete(tmp_path / "out")
    assert made == run([inputs], tmp_path / "out")


def test_what_killed_writers_left_is_removed(inputs: Path, tmp_path: Path) -> None:
    run([inputs], tmp_path / "out")
    old = time.time() - 60
    for name, age in (
        ("00000-00001-a.parquet#1", old),
        ("_plan.json#12", old),
        ("mine#1", old),
        ("_manifest.json#2", None),
    ):
        (tmp_path / "out" / name).write_text("half")
        if age:
            os.utime(tmp_path / "out" / name, (age, age))
    run([inputs], tmp_path / "out")
    left = sorted(path.name for path in (tmp_path / "out").iterdir() if "#" in path.name)
    assert left == ["_manifest.json#2", "mine#1"]  # one that may be written just now, and one of somebody else


# --- nothing is mixed ------------------------------------------------------------------------------------------------


def _another_file(folder: Path) -> None:
    (folder / "d.csv").write_text("formula\nLiO\n")


def _a_file_less(folder: Path) -> None:
    (folder / "a.csv").unlink()


def _another_content(folder: Path) -> None:
    (folder / "a.csv").write_text((folder / "a.csv").read_text() + "LiO,9\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_another_file, r"it has no .*d\.csv"),
        (_a_file_less, r"it has .*a\.csv too"),
        (_another_content, r"a\.csv has changed since"),
    ],
)
@pytest.mark.parametrize("parts", [3, None])
def test_other_inputs_are_refused(
    inputs: Path, tmp_path: Path, parts: int | None, change: Callable[[Path], None], said: str
) -> None:
    if parts is None:
        run([inputs], tmp_path / "out")
    else:
        with pytest.raises(Killed):
            run([inputs], tmp_path / "out", Serial(parts))
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    change(inputs)
    with pytest.raises(RequestError, match=f"predictions of something else.*{said}.*another folder"):
        run([inputs], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_another_model_is_refused(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run([inputs], tmp_path / "out", Serial(2))
    with pytest.raises(RequestError, match=r"it has those of user/gap@1, and this is user/gap@2"):
        run([inputs], tmp_path / "out", model="user/gap@2")


def test_a_folder_with_other_tables_is_refused(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README").write_text("mine")
    (tmp_path / "out" / "x.parquet").write_text("mine")
    with pytest.raises(RequestError, match=r"holds tables already.*x\.parquet"):
        run([inputs], tmp_path / "out")
    (tmp_path / "out" / "x.parquet").unlink()
    run([inputs], tmp_path / "out")
    assert is_complete(tmp_path / "out")


def test_a_part_of_other_predictions_is_refused(inputs: Path, tmp_path: Path) -> None:
    run([inputs], tmp_path / "other", model="user/gap@2")
    with pytest.raises(Killed):
        run([inputs], tmp_path / "out", Serial(2))
    name = "00001-00001-b-b.parquet"
    strange = [(b"x" * size, "is no part of") for size in (0, 5, 50)]  # nothing: of a machine that lost its power
    for data, said in (((tmp_path / "other" / name).read_bytes(), "is a part of other"), *strange):
        (tmp_path / "out" / name).write_bytes(data)
        with pytest.raises(StoreError, match=rf"{said} predictions.*{name}.*remove it"):
            run([inputs], tmp_path / "out")


@pytest.mark.parametrize("before", [True, False])
def test_an_input_that_changes_meanwhile(inputs: Path, tmp_path: Path, before: bool) -> None:
    class Changing(Serial):
        def make(self, *arguments: Any) -> Any:
            if before:
                _another_content(inputs)
            yield from super().make(*arguments)
            _another_content(inputs)

    with pytest.raises(WorkError, match=r"changed while it was read.*a\.csv"):
        run([inputs], tmp_path / "out", Changing())
    assert not (tmp_path / "out" / "_manifest.json").exists()
    assert bool(list((tmp_path / "out").glob("*.parquet"))) is not before


@pytest.mark.parametrize("name", ["a.csv", "c.parquet"])
def test_no_part_is_made_of_a_file_that_has_changed(inputs: Path, tmp_path: Path, name: str) -> None:
    """Nor is one left that counts, should the file be put back."""

    class Changing(Serial):
        def make(self, *arguments: Any) -> Any:
            for n, found in enumerate(super().make(*arguments)):
                yield found
                if n == 1:
                    (inputs / name).rename(tmp_path / "before")
                    (inputs / name).write_bytes((tmp_path / "before").read_bytes())

    with pytest.raises(WorkError, match="changed while it was read"):
        run([inputs / name], tmp_path / "out", Changing())
    (tmp_path / "before").rename(inputs / name)
    crew = Serial()
    run([inputs / name], tmp_path / "out", crew)
    assert [piece.number for piece in crew.made] == [2, 3, 4]


def test_an_object_that_is_gone_is_no_damaged_file(s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be named as one that cannot be read, and the folder be complete without it."""
    monkeypatch.setattr(sources, "_BUFFER", 4096)  # less than the file
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"formula": ["LiO"] * 20_000, "n": range(20_000)}), path, row_group_size=1000)
    s3.create("in/a.parquet", path.read_bytes())
    (file,) = find_inputs([f"{s3.url}/in"], "file:///nowhere")
    spans = survey(file)
    with reader_of(file) as reader:
        assert reader.read(spans[0])["n"].to_pylist() == list(range(spans[0].rows))
        s3.delete(["in/a.parquet"])
        with pytest.raises(MissingKeyError):
            reader.read(spans[-1])


def test_keys_that_are_gone_are_no_damaged_file(s3: Store, tmp_path: Path, no_aws: pytest.MonkeyPatch) -> None:
    """Of a login that has expired, or on a machine of a cluster that has none."""
    s3.create("in/a.csv", b"formula\nLiO\n")
    (file,) = find_inputs([f"{s3.url}/in"], "file:///nowhere")
    job = bulk.Job((file,), Store.open(str(tmp_path)), "a plan", lengths)
    (span,) = survey(file)
    no_aws.delenv("AWS_ACCESS_KEY_ID")
    for use in (lambda: bulk.look(file), lambda: bulk.Worker(job).make(bulk.Piece(0, 0, span)), file.again):
        with pytest.raises(WorkError, match=r"keys for S3.*s3://.*AWS_ACCESS_KEY_ID"):
            use()


def test_large_csvs_are_looked_through_by_the_crew(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Looking(Serial):
        def look(self, files: Any) -> Any:
            seen.extend(Path(file.url).name for file in files)
            return super().look(files)

    monkeypatch.setattr(bulk, "_BIG", 10)
    run([inputs], tmp_path / "out", Looking())
    assert seen == ["a.csv", "b b.csv.gz"]
    assert is_complete(tmp_path / "out")
