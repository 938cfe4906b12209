"""What `--input` names: files of this machine and objects in a store, each once and in a settled order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fake_s3 import FakeS3
from xtlray.data.sources import InputFile, find_inputs, several
from xtlray.errors import RequestError, WorkError
from xtlray.store import Store

OUT = "file:///nowhere/out"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tables and other things, in which the test runs."""
    for name in (
        "b.csv",
        "a.parquet",
        "deep/c.csv.gz",
        "deep/er/d.PQ",
        "notes.txt",
        "_hidden/e.csv",
        ".f.csv",
        "[1].csv",
        "~$b.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(files: list[InputFile], folder: Path) -> list[str]:
    return [Path(file.url).relative_to(folder).as_posix() for file in files]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["b.csv"], ["b.csv"]),
        (["notes.txt"], ["notes.txt"]),  # by its own name anything
        (["."], ["[1].csv", "a.parquet", "b.csv", "deep/c.csv.gz", "deep/er/d.PQ", "~$b.csv"]),
        (["_hidden"], ["_hidden/e.csv"]),  # named, so not hidden
        (["deep/"], ["deep/c.csv.gz", "deep/er/d.PQ"]),
        (["*.csv"], ["[1].csv", "b.csv", "~$b.csv"]),
        (["[1].csv"], ["[1].csv"]),  # there is one of that very name
        (["~$b.csv"], ["~$b.csv"]),
        (["[ab].*"], ["a.parquet", "b.csv"]),
        (["**/*.csv.gz", "b.csv", "*.csv"], ["deep/c.csv.gz", "b.csv", "[1].csv", "~$b.csv"]),
        (["de*"], ["deep/c.csv.gz", "deep/er/d.PQ"]),
        (["file://{}/a.parquet"], ["a.parquet"]),
    ],
)
def test_files(folder: Path, texts: list[str], expected: list[str]) -> None:
    assert names(find_inputs([text.format(folder) for text in texts], OUT), folder) == expected


@pytest.mark.parametrize("text", ["none.csv", "x*.csv", "deep/none/"])
def test_nothing_there(folder: Path, text: str) -> None:
    with pytest.raises(RequestError, match=r"no such input.*a file, a folder"):
        find_inputs([text], OUT)


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_name_does_not_mean_all_that_lies_here(folder: Path, text: str) -> None:
    with pytest.raises(RequestError, match="has no name"):
        find_inputs(["b.csv", text], OUT)


def test_what_lies_in_the_output_is_no_input(folder: Path) -> None:
    output = (folder / "deep" / "er").as_uri()
    assert names(find_inputs(["deep"], output), folder) == ["deep/c.csv.gz"]
    for text in ("deep/er", "deep/er/d.PQ"):
        with pytest.raises(RequestError, match="in the folder of the output"):
            find_inputs([text], output)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, False) for text in ("b.csv", "none.csv", "[1].csv", "file:///b.csv")),
        *((text, True) for text in ("deep", "deep/", "new/", "*.csv", "s3://bucket/b.csv")),
    ],
)
def test_what_may_be_several(folder: Path, text: str, expected: bool) -> None:
    assert several(text) is expected


@pytest.mark.parametrize("name", ["a\nb.csv", "a\x1b[31m.csv", os.fsdecode(b"a\xff.csv")])
def test_names_that_cannot_be_shown(folder: Path, name: str) -> None:
    (folder / name).write_text("formula\n")
    with pytest.raises(RequestError, match="cannot be shown") as caught:
        find_inputs(["*.csv"], OUT)
    assert str(caught.value).isprintable()


def test_a_file_is_known_again_and_a_changed_one_is_not(folder: Path) -> None:
    (file,) = find_inputs(["b.csv"], OUT)
    assert file.again() == file
    about = (folder / "b.csv").stat()
    (folder / "b.csv").write_text("x.csv")  # as long
    os.utime("b.csv", ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    assert file.again() not in (file, None)
    (folder / "b.csv").unlink()
    assert file.again() is None
    with pytest.raises(WorkError, match=r"cannot be read.*b\.csv: No such file"):
        file.open()


# --- objects ---------------------------------------------------------------------------------------------------------

KEYS = (
    "in/b.csv",
    "in/a.parquet",
    "in/deep/c.csv",
    "in/deep/er/d.csv.gz",
    "in/_x/e.csv",
    "in/notes",
    "in/f.parquet/1.pq",
)


@pytest.fixture
def bucket(fake_s3: FakeS3) -> Store:
    store = Store.open("s3://bucket")
    for key in KEYS:
        store.create(key, key.encode())
    return store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/in/b.csv", ["in/b.csv"]),
        ("s3://bucket/in/notes", ["in/notes"]),
        ("s3://bucket/in/deep", ["in/deep/c.csv", "in/deep/er/d.csv.gz"]),
        ("s3://bucket/in/deep/", ["in/deep/c.csv", "in/deep/er/d.csv.gz"]),
        ("s3://bucket/in/f.parquet", ["in/f.parquet/1.pq"]),  # a folder, whatever its name says
        ("s3://bucket/in/*.csv", ["in/b.csv"]),
        ("s3://bucket/in/*/*.csv", ["in/_x/e.csv", "in/deep/c.csv"]),
        ("s3://bucket/in/**/*.csv*", ["in/_x/e.csv", "in/b.csv", "in/deep/c.csv", "in/deep/er/d.csv.gz"]),
        ("s3://bucket/i[n]/?.parquet", ["in/a.parquet"]),
        ("s3://bucket", ["in/a.parquet", "in/b.csv", "in/deep/c.csv", "in/deep/er/d.csv.gz", "in/f.parquet/1.pq"]),
    ],
)
def test_objects(bucket: Store, text: str, expected: list[str]) -> None:
    files = find_inputs([text], OUT)
    assert [file.key for file in files] == expected
    assert [file.url for file in files] == [f"s3://bucket/{key}" for key in expected]
    for file in files:
        with file.open() as data:
            assert data.read() == file.key.encode()
            data.seek(-2, os.SEEK_END)
            assert data.read(9) == file.key[-2:].encode()
        assert file.size == len(file.key)


def test_objects_in_the_output_are_no_input(bucket: Store) -> None:
    files = find_inputs(["s3://bucket/in"], "s3://bucket/in/deep")
    assert [file.key for file in files] == ["in/a.parquet", "in/b.csv", "in/f.parquet/1.pq"]
    with pytest.raises(RequestError, match="in the folder of the output"):
        find_inputs(["s3://bucket/in/deep/*"], "s3://bucket/in/deep")


def test_an_object_is_known_again_and_a_changed_one_is_not(bucket: Store) -> None:
    (file,) = find_inputs(["s3://bucket/in/b.csv"], OUT)
    assert file.again() == file
    bucket.delete([file.key])
    assert file.again() is None
    bucket.create(file.key, b"x" * file.size)
    assert file.again() not in (file, None)


def test_no_such_objects_and_no_such_store(bucket: Store) -> None:
    for text in ("s3://bucket/none.csv", "s3://bucket/none/*", "s3://bucket/in/deep/c"):
        with pytest.raises(RequestError, match="no such input"):
            find_inputs([text], OUT)
    with pytest.raises(RequestError, match="scheme that is not supported"):
        find_inputs(["http://somewhere/b.csv"], OUT)
