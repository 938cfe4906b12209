"""A store as pyarrow's filesystem: used as Ray and pyarrow use it, without keys in what travels, without markers."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from tests.fake_s3 import FakeS3
from xtlray.store import Store


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest) -> Store:
    """A folder and an object store, which must behave alike."""
    made: Store = request.getfixturevalue("store" if request.param == "folder" else "s3")
    return made


def test_files_are_written_listed_and_read_by_both_roads(place: Store) -> None:
    files, path = place.arrow("a")
    files.create_dir(path, recursive=True)
    with files.open_output_stream(f"{path}/by-arrow") as stream:
        stream.write(b"1")
    place.create("a/by-store", b"22")
    assert place.get("a/by-arrow") == b"1"
    assert files.open_input_file(f"{path}/by-store").read() == b"22"
    found = files.get_file_info(fs.FileSelector(path))
    assert sorted((info.base_name, info.size) for info in found) == [("by-arrow", 1), ("by-store", 2)]
    assert place.list("") == ["a/by-arrow", "a/by-store"]


def test_parquet_by_several_files(place: Store) -> None:
    files, path = place.arrow("table")
    files.create_dir(path, recursive=True)
    for i in range(3):
        pq.write_table(pa.table({"i": [i]}), f"{path}/{i}.parquet", filesystem=files)
    assert sorted(pq.read_table(path, filesystem=files)["i"].to_pylist()) == [0, 1, 2]
    assert place.children("table") == ["0.parquet", "1.parquet", "2.parquet"]


def test_a_tree_is_copied_in_moved_and_deleted_and_no_marker_stays(place: Store, tmp_path: Path) -> None:
    (tmp_path / "from" / "deep" / "er").mkdir(parents=True)
    for name in ("one", "deep/two", "deep/er/three"):
        (tmp_path / "from" / name).write_text(name)
    files, path = place.arrow("tree")
    files.create_dir(path, recursive=True)
    fs.copy_files(str(tmp_path / "from"), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=files)
    assert place.list("tree") == ["tree/deep/er/three", "tree/deep/two", "tree/one"]
    files.move(f"{path}/one", f"{path}/moved")
    files.copy_file(f"{path}/moved", f"{path}/copied")
    files.delete_file(f"{path}/moved")
    files.delete_dir(f"{path}/deep")
    assert place.list("") == ["tree/copied"]
    files.delete_dir_contents(path)
    assert place.list("") == []


def test_what_is_missing_is_an_error(place: Store) -> None:
    files, path = place.arrow("a")
    with pytest.raises(FileNotFoundError):
        files.delete_file(f"{path}/none")
    with pytest.raises(FileNotFoundError):
        files.open_input_file(f"{path}/none")
    assert files.get_file_info(f"{path}/none").type == fs.FileType.NotFound


def test_nothing_outside_of_the_store_is_deleted(s3: Store, fake_s3: FakeS3) -> None:
    fake_s3.buckets["bucket"]["elsewhere/a"] = b"1"
    files, path = s3.arrow("")
    for outside in ("bucket/elsewhere/a", f"{path}-longer/a", "bucket"):
        with pytest.raises(ValueError, match="is not a path in"):
            files.delete_file(outside)
    with pytest.raises(ValueError, match="is not a path in"):
        files.delete_dir("bucket/elsewhere")
    assert fake_s3.buckets["bucket"] == {"elsewhere/a": b"1"}


def test_what_travels_is_the_url_and_keys_are_found_at_the_other_end(
    s3: Store, fake_s3: FakeS3, no_aws: pytest.MonkeyPatch
) -> None:
    s3.create("a", b"1")
    files, path = s3.arrow("a")
    assert files.open_input_file(path).read() == b"1"
    travelled = pickle.dumps(files)
    assert fake_s3.environment["AWS_SECRET_ACCESS_KEY"].encode() not in travelled
    assert b"access-key" not in travelled
    no_aws.setenv("AWS_ACCESS_KEY_ID", "of-another-node")
    assert pickle.loads(travelled).open_input_file(path).read() == b"1"
    assert "Credential=of-another-node/" in fake_s3.requests[-1][2]["authorization"]
    assert pickle.loads(travelled) == files


def test_for_ray_a_folder_is_a_path_and_a_bucket_a_filesystem(store: Store, s3: Store) -> None:
    assert store.for_ray("runs/r") == {"storage_path": str(store.local_path / "runs" / "r")}
    found = s3.for_ray("runs/r")
    assert found["storage_path"] == f"{s3.url.removeprefix('s3://')}/runs/r"
    with found["storage_filesystem"].open_output_stream(f"{found['storage_path']}/x") as stream:
        stream.write(b"1")
    assert s3.list("") == ["runs/r/x"]


def test_checksums_that_other_servers_refuse_are_off(s3: Store, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_supported")  # what the user has set stays
    files, path = s3.arrow("a")
    files.get_file_info(path)
    assert os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] == "when_required"
    assert os.environ["AWS_RESPONSE_CHECKSUM_VALIDATION"] == "when_supported"
