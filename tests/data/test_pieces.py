"""Large tables in pieces: the same rows as when they are read as a whole, from wherever one begins."""

from __future__ import annotations

import errno
import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xtlray.data import pieces
from xtlray.data.pieces import Reader, Span, reader_of, survey
from xtlray.data.read import read_table
from xtlray.data.sources import InputFile, find_inputs
from xtlray.errors import RequestError, WorkError

ROWS = 23
TEXTS = [f"Li{n}O" if n % 5 else 'a "b", c\nd' for n in range(1, ROWS + 1)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of five rows, read by three."""
    monkeypatch.setattr(pieces, "ROWS", 5)
    monkeypatch.setattr(pieces, "_BATCH", 3)


def csv(path: Path, *, end: str = "\n", bom: bool = False, blank: bool = False, packed: bool = False) -> Path:
    rows = [["formula", "n", "é"], *([text, str(n), "ß"] for n, text in enumerate(TEXTS))]
    quoted = [
        ",".join('"' + cell.replace('"', '""') + '"' if set(cell) & set('",\n') else cell for cell in r) for r in rows
    ]
    text = (end * 2 if blank else end).join(quoted) + end
    data = ("\ufeff" * bom + text).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def parquet(path: Path, group: int = 8) -> Path:
    table = pa.table({"n": list(range(ROWS)), "formula": TEXTS, "deep": [[n, n] for n in range(ROWS)]})
    pq.write_table(table.replace_schema_metadata({"a": "b"}), path, row_group_size=group)
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "plain.csv": csv,
    "windows.csv": lambda path: csv(path, end="\r\n", bom=True),
    "mac.csv": lambda path: csv(path, end="\r"),
    "blank.csv": lambda path: csv(path, blank=True),
    "packed.csv.gz": lambda path: csv(path, packed=True),
    "groups.parquet": parquet,
    "one.parquet": lambda path: parquet(path, ROWS),
    "tiny.parquet": lambda path: parquet(path, 2),
}


def given(path: Path) -> InputFile:
    (file,) = find_inputs([str(path)], "file:///nowhere")
    return file


def rows_of(reader: Reader, span: Span) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = reader.read(span).to_pylist()
    return rows


@pytest.fixture(params=MAKERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path / request.param)


def test_all_pieces_are_the_whole(path: Path) -> None:
    file = given(path)
    spans = survey(file)
    assert [(span.start, span.rows) for span in spans] == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 3)]
    whole = read_table(path)
    with reader_of(file) as reader:
        found = [row for span in spans for row in rows_of(reader, span)]
    assert [list(row) for row in found] == [list(whole.columns)] * ROWS
    for name in whole.columns:
        assert [row[name] for row in found] == list(whole.cells(name))


@pytest.mark.parametrize("order", [(1, 3), (4, 0), (2, 2), (0, 1, 4, 3), (3, 4, 1)])
def test_pieces_in_any_order(path: Path, order: tuple[int, ...]) -> None:
    file = given(path)
    spans = survey(file)
    whole = read_table(path).formulas()
    with reader_of(file) as reader:
        for k in order:
            span = spans[k]
            assert [row["formula"] for row in rows_of(reader, span)] == whole[span.start : span.start + span.rows]


def test_rows_of_many_bytes_make_smaller_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BYTES", 3600)
    (tmp_path / "a.csv").write_text("formula,x\n" + f"LiO,{'y' * 1400}\n" * 7)
    assert [span.rows for span in survey(given(tmp_path / "a.csv"))] == [3, 3, 1]
    wide = [bytes([n]) * 1200 for n in range(7)]
    pq.write_table(
        pa.table({"formula": ["LiO"] * 7, "x": wide}), tmp_path / "a.parquet", compression="none", use_dictionary=False
    )
    spans = survey(given(tmp_path / "a.parquet"))
    assert [span.rows for span in spans] == [2, 2, 2, 1]
    with reader_of(given(tmp_path / "a.parquet")) as reader:
        assert [row["x"] for span in spans for row in rows_of(reader, span)] == wide


def test_of_wide_rows_no_more_is_held_than_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "ROWS", 50_000)
    monkeypatch.setattr(pieces, "_BATCH", 16_384)
    monkeypatch.setattr(pieces, "BYTES", 1 << 20)
    texts = [f"{n}".zfill(50_000) for n in range(600)]  # 30 MB in one row group
    table = pa.table({"formula": ["LiO"] * 600, "cif": texts})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, write_batch_size=10)  # in pages of 1 MB
    before = pa.total_allocated_bytes()
    with reader_of(given(tmp_path / "a.parquet")) as reader:
        (first, *_) = reader.spans()
        assert reader.read(first)["cif"].to_pylist() == texts[: first.rows]
        assert pa.total_allocated_bytes() - before < 10 << 20


def test_a_header_without_rows_is_one_empty_piece(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("formula,x\n")
    pq.write_table(pa.table({"formula": pa.array([], pa.string()), "x": pa.array([], pa.int8())}), tmp_path / "a.pq")
    for name, kind in (("a.csv", pa.string()), ("a.pq", pa.int8())):
        file = given(tmp_path / name)
        assert [(span.start, span.rows) for span in survey(file)] == [(0, 0)]
        with reader_of(file) as reader:
            table = reader.read(survey(file)[0])
        assert (table.num_rows, table.column_names, table["x"].type) == (0, ["formula", "x"], kind)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "holds no rows"),
        ("a.csv", b"x,value\nLiO,1\n", "No column is plainly that of the formulas"),
        ("a.csv", b"formula,Composition\nLiO,1\n", None),
        ("a.csv", b"composition,pretty_formula\nLiO,1\n", "More than one column"),
        ("a.csv", b"formula,x,x\nLiO,1,2\n", "Two columns have one name"),
        ("a.csv", b"formula;x\nLiO;1\n", "separated by semicolons"),
        ("a.csv", b"formula,x\nLiO,1\nLiO\n", "1 in line 3 of .*a.csv"),
        ("a.csv", b"formula,x\nLiO,1\nLiO,\xff\n", "byte 0xff at position 20 of"),
        ("a.csv", b"formula,x\n" + b"LiO,1\n" * 4000 + b"LiO,\xff\n", "byte 0xff at position 24014 of"),
        ("a.csv", b"formula,x\nLiO,\0\n", "binary"),
        ("a.csv", b'formula,x\nLiO,"1\n', "is not CSV"),
        ("a.csv", b"PK\x03\x04rest", "zip archive"),
        ("a.csv.gz", b"formula\nLiO\n", "its name says gzip"),
        ("a.csv.gz", gzip.compress(b"formula\nLiO\n" * 9000)[:-30], "gzip stream is cut off"),
        ("a.csv.gz", gzip.compress(b"formula\nLiO\n" * 9000)[:-8] + b"12345678", "gzip stream is cut off or damaged"),
        ("a.parquet", b"formula\nLiO\n", "its name says Parquet"),
        ("a.parquet", b"PAR1" + b"x" * 100, "not a readable Parquet file"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, data: bytes, message: str | None) -> None:
    (tmp_path / name).write_bytes(data)
    if message is None:
        assert survey(given(tmp_path / name))
        return
    with pytest.raises(RequestError, match=message):
        survey(given(tmp_path / name))


def test_formulas_that_are_no_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"formula": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match="does not hold text"):
        survey(given(tmp_path / "a.parquet"))


def test_damage_behind_the_footer_is_found_where_it_lies(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet")
    about = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    start = min(about.data_page_offset, about.dictionary_page_offset or about.data_page_offset)
    data[start : start + about.total_compressed_size] = b"\xff" * about.total_compressed_size
    path.write_bytes(data)
    file = given(path)
    first, *_, last = survey(file)
    with reader_of(file) as reader:
        assert len(rows_of(reader, first)) == 5
        with pytest.raises(RequestError, match="not a readable Parquet file"):
            reader.read(Span(8, 5))
    with reader_of(file) as reader:
        assert [row["n"] for row in rows_of(reader, last)] == [20, 21, 22]


def test_a_csv_that_became_shorter(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv")
    file = given(path)
    last = survey(file)[-1]
    path.write_text("formula,n,x\n")
    with reader_of(file) as reader, pytest.raises(RequestError, match="became shorter"):
        reader.read(last)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_disk_that_fails_is_no_damaged_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be named as one that cannot be read, and be passed over for good."""
    path = parquet(tmp_path / name) if name.endswith("t") else csv(tmp_path / name, packed=name.endswith("gz"))

    class Failing(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            if self.tell() > 30:
                raise OSError(errno.EIO, "Input/output error")
            return super().readinto(memoryview(buffer)[:40])

        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    file = replace(given(path), store="s3://bucket")
    monkeypatch.setattr(InputFile, "open", lambda self: io.BufferedReader(Failing(path), 64))
    with pytest.raises(WorkError, match="cannot be read"):
        survey(file)
