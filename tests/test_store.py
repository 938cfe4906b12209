"""The store's promises: create-once under racers, publish-last, logs, folder borders, any folder name, read-only."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.fake_s3 import FakeS3
from xtlray.errors import MissingKeyError, RequestError, StoreError
from xtlray.store import Store, canonical_json

RACERS = 8


def race(run: Callable[[int], Any]) -> list[Any]:
    """What `run(0)` … `run(7)` answer when they start at the same moment, in threads."""
    gate = Barrier(RACERS)

    def start(i: int) -> Any:
        gate.wait()
        return run(i)

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(start, range(RACERS)))


# --- create-once -----------------------------------------------------------------------------------------------------


def test_create_once_keeps_the_first_value(store: Store) -> None:
    assert store.create("a/b", b"first") is True
    assert store.create("a/b", b"second") is False
    assert store.get("a/b") == b"first"


def test_eight_racing_threads_have_one_winner_whose_bytes_are_kept(store: Store) -> None:
    for key in (f"race/{i}" for i in range(20)):
        won = race(lambda i, key=key: store.create(key, bytes([i]) * 10_000))
        assert won.count(True) == 1
        assert store.get(key) == bytes([won.index(True)]) * 10_000


def test_racing_processes_have_one_winner_per_key(store: Store) -> None:
    code = (
        "import sys; from xtlray.store import Store; s = Store.open(sys.argv[1]); sys.stdin.readline();"
        "sys.stdout.write(''.join(str(int(s.create(f'k/{i}', sys.argv[2].encode()))) for i in range(50)))"
    )
    command = [sys.executable, "-c", code, store.url]
    racers = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [len(flags) for flags in won] == [50, 50, 50]
    for i in range(50):
        winners = [n for n, flags in enumerate(won) if flags[i] == "1"]
        assert winners == [int(store.get(f"k/{i}"))]


def test_a_file_that_a_killed_writer_left_half_is_not_a_key(store: Store) -> None:
    store.create("a/whole", b"1")
    assert store.local_path is not None
    (store.local_path / "a" / "half#1").write_bytes(b"0")  # obstore writes beside the key, then links
    assert store.list("a") == ["a/whole"]
    assert store.children("a") == ["whole"]


# --- logs and claims -------------------------------------------------------------------------------------------------


def test_racing_claims_get_the_numbers_one_to_eight(store: Store) -> None:
    numbers = race(lambda i: store.claim("runs/r/attempts", "{n}/claim.json", {"by": i}))
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6, 7, 8]
    for i, n in enumerate(numbers):
        assert store.get_json(f"runs/r/attempts/{n}/claim.json")["by"] == i


def test_a_log_means_its_highest_number_not_its_last_name(store: Store) -> None:
    assert store.newest("log") is None
    assert [store.append("log", f"v{i}") for i in range(1, 11)] == list(range(1, 11))
    assert store.newest("log") == (10, "v10")  # as text, "9" would come after "10"


def test_no_two_claims_are_equal_and_the_newest_is_what_was_appended(store: Store) -> None:
    for _ in range(2):
        store.append("log", {"b": 1, "a": 2})
    assert store.get("log/1.json") != store.get("log/2.json")
    assert store.newest("log") == (2, {"a": 2, "b": 1})


def test_numbers_ignores_what_is_no_number(store: Store) -> None:
    for key in ("m/1/card.json", "m/12/card.json", "m/aliases/best/1.json", "m/2.json", "m/x3"):
        store.create(key, b"{}")
    assert store.numbers("m") == [1, 2, 12]


# --- publish-last ----------------------------------------------------------------------------------------------------


def test_publish_writes_the_manifest_last_and_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    create = Store.create
    monkeypatch.setattr(Store, "create", lambda self, key, data: written.append(key) or create(self, key, data))
    assert store.publish("m/1", {"weights": b"w", "a": b"a"}, "card.json", {"n": 1}) is True
    assert written == ["m/1/a", "m/1/weights", "m/1/card.json"]
    assert store.publish("m/1", {"weights": b"other"}, "card.json", {"n": 2}) is False
    assert store.get("m/1/weights") == b"w"
    assert store.get_json("m/1/card.json") == {"n": 1}


def test_a_publication_cut_off_is_invisible_and_the_next_try_completes_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Store.create

    def dies_at_weights(self: Store, key: str, data: bytes) -> bool:
        if key.endswith("weights"):
            raise KeyboardInterrupt
        return create(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "create", dies_at_weights)
        with pytest.raises(KeyboardInterrupt):
            store.publish("m/1", {"a": b"old", "weights": b"w"}, "card.json", {"n": 1})
    assert store.list("m") == ["m/1/a"]
    assert not store.exists("m/1/card.json")

    assert store.publish("m/1", {"a": b"new", "weights": b"w"}, "card.json", {"n": 2}) is True
    assert store.get("m/1/a") == b"new"  # no manifest spoke of the old one


def test_a_publication_over_old_files_that_are_cleared_away_just_then_is_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("m/1/a", b"a")
    store.create("m/1/b", b"b")
    create = Store.create

    def cleared(self: Store, key: str, data: bytes) -> bool:
        if key.endswith("card.json"):
            self.delete(["m/1/a", "m/1/b"])
        return create(self, key, data)

    monkeypatch.setattr(Store, "create", cleared)
    assert store.publish("m/1", {"a": b"a", "b": b"b"}, "card.json", {}) is True
    assert [store.get(f"m/1/{name}") for name in ("a", "b")] == [b"a", b"b"]


def test_racing_publishers_of_equal_files_have_one_winner(store: Store) -> None:
    won = race(lambda i: store.publish("m/1", {"w": b"same"}, "card.json", {"by": i}))
    assert won.count(True) == 1
    assert store.get_json("m/1/card.json") == {"by": won.index(True)}


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_listing_tells_sizes_and_when_they_were_written(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    for key, size in (("a/b/2", 3), ("a/b/1", 5), ("a/bc/1", 7)):
        store.create(key, b"x" * size)
    found = store.listing("a/b")
    assert [(item.key, item.size) for item in found] == [("a/b/1", 5), ("a/b/2", 3)]
    assert all(before < item.modified <= datetime.now(UTC) for item in found)
    assert store.listing("b") == []


def test_a_folder_never_means_a_longer_name(store: Store) -> None:
    for key in ("a/b/1", "a/bc/2", "a/b.json", "ab/3"):
        store.create(key, b"")
    assert store.list("a/b") == ["a/b/1"]
    assert store.list("a") == ["a/b.json", "a/b/1", "a/bc/2"]
    assert store.list("/a/b/") == ["a/b/1"]
    assert store.children("a") == ["b", "b.json", "bc"]
    assert store.children("") == ["a", "ab"]
    assert store.list("") == ["a/b.json", "a/b/1", "a/bc/2", "ab/3"]


def test_what_is_not_there(store: Store) -> None:
    store.create("a/b/c", b"")
    assert store.exists("a/b/c")
    assert not store.exists("a/b")  # a folder is not a key
    assert store.list("none") == []
    assert store.children("none") == []
    store.delete(["none"])
    for key in ("none", "a/b"):
        with pytest.raises(MissingKeyError, match="Nothing lies in the store under that key"):
            store.get(key)


def test_nothing_lies_below_a_file(store: Store, s3: Store) -> None:
    """A folder may hold files of other programs, where ours would be folders."""
    for each in (store, s3):
        each.create("runs/.DS_Store", b"x")
        below = "runs/.DS_Store/results/1.json"
        assert (each.list("runs/.DS_Store/results"), each.children("runs/.DS_Store/results")) == ([], [])
        assert (each.exists(below), each.entry(below), each.get_all([below, "runs/.DS_Store"])) == (
            False,
            None,
            [None, b"x"],
        )
        each.delete([below])
        for read in (each.get, each.size, lambda key, of=each: of.get_range(key, 0, 1)):
            with pytest.raises(MissingKeyError):
                read(below)
    with pytest.raises(StoreError, match="could not write"):
        store.create("runs/.DS_Store/results/1.json", b"1")


def test_what_is_not_json_is_said_to_be_so(store: Store) -> None:
    store.create("card.json", b'{"half":')
    with pytest.raises(StoreError, match="not the JSON"):
        store.get_json("card.json")


def test_canonical_json_has_one_spelling_and_no_nan() -> None:
    assert canonical_json({"b": 1, "a": "Å"}) == canonical_json({"a": "Å", "b": 1})
    assert canonical_json({"a": "Å"}) == '{\n "a": "Å"\n}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": float("nan")})


def test_empty_objects_that_mark_folders_are_no_keys(s3: Store, fake_s3: FakeS3) -> None:
    """S3 consoles and pyarrow make them; obstore names them as keys."""
    root = s3.url.removeprefix("s3://bucket/")
    for marker in ("/", "/a/", "/a/b/"):
        fake_s3.buckets["bucket"][root + marker] = b""
    s3.create("a/b/c", b"1")
    s3.create("a/empty", b"")
    assert s3.list("") == ["a/b/c", "a/empty"]
    assert s3.list("a/b") == ["a/b/c"]
    assert s3.children("a") == ["b", "empty"]
    assert s3.children("a/b") == ["c"]
    assert s3.children("") == ["a"]


def test_a_folder_is_deleted_and_the_store_is_still_there(store: Store, s3: Store) -> None:
    for each in (store, s3):
        for key in ("a/b/1", "a/2", "ab/3"):
            each.create(key, b"x")
        each.delete_folder("a")
        assert each.list("") == ["ab/3"]
        assert each.children("") == ["ab"]
        each.delete_folder("ab")
        assert each.children("") == []
        assert each.create("a/2", b"y") is True


def test_many_keys_are_deleted_in_few_requests(s3: Store, fake_s3: FakeS3) -> None:
    root = s3.url.removeprefix("s3://bucket/")
    fake_s3.buckets["bucket"] |= {f"{root}/{i}": b"x" for i in range(1200)}
    s3.delete([*s3.list(""), "gone already"])
    assert s3.list("") == []
    assert len(fake_s3.sent("POST")) == 3


# --- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "with space", "Bücher", "a#b", "50%20off", "what?"])
def test_any_folder_name_is_that_very_folder_by_every_way_of_opening_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    store = Store.open(str(folder))
    store.create("a/b", b"1")
    assert (folder / "a" / "b").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert store.local_path == folder
    assert store.url_of("a/b") == str(folder / "a" / "b")
    for twin in (Store.open(store.url), copy.copy(store), Store.open(folder.as_uri())):
        assert twin.url == store.url
        assert twin.get("a/b") == b"1"


def test_the_store_is_named_by_argument_then_environment_then_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XTLRAY_STORE", "from-environment")
    assert Store.open("given").local_path == tmp_path / "given"
    assert Store.open().local_path == tmp_path / "from-environment"
    monkeypatch.delenv("XTLRAY_STORE")
    assert Store.open().local_path == tmp_path / "xtlray-store"


@pytest.mark.parametrize("url", ["ftp://host/x", "file://relative/x", "s3://"])
def test_a_url_that_cannot_be_a_store_is_a_wrong_request(url: str) -> None:
    with pytest.raises(RequestError):
        Store.open(url)


def test_a_file_in_the_place_of_the_folder_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="cannot be opened"):
        Store.open(str(tmp_path / "file"))


def test_a_read_only_store_reads_and_changes_nothing(store: Store) -> None:
    store.create("a", b"1")
    fixed = Store(store.url, read_only=True)
    assert fixed.get("a") == b"1"
    assert copy.copy(fixed).read_only
    attempts: list[Callable[[], object]] = [
        lambda: fixed.create("b", b"2"),
        lambda: fixed.append("log", 1),
        lambda: fixed.ensure("a", b"2"),
        lambda: fixed.delete(["a"]),
        lambda: fixed.publish("m", {}, "card.json", {}),
    ]
    for attempt in attempts:
        with pytest.raises(RequestError, match="cannot be written to"):
            attempt()
    assert store.list("") == ["a"]
