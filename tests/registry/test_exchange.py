"""Models between stores and plain folders: whole or not at all, once, and nothing that a stranger has slipped in."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.registry.forging import rewrite
from xtlray.errors import RequestError, StoreError, WorkError
from xtlray.nn.members import ConstantMember
from xtlray.registry import exchange
from xtlray.registry.exchange import copy, pull, push, whence
from xtlray.registry.model import load_model
from xtlray.registry.removal import delete
from xtlray.registry.versions import ModelRef, complete_versions, versions_of
from xtlray.store import Store


def answer(ref: ModelRef) -> float:
    return float(load_model(ref).predict("NaCl").value[0])


# --- pull ------------------------------------------------------------------------------------------------------------


def test_a_pulled_model_is_its_files_and_its_card(ref: ModelRef, tmp_path: Path) -> None:
    done = pull(ref, tmp_path / "a" / "b")
    names = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert names == ["card.json", "weights.safetensors"]
    for name in names:
        assert (tmp_path / "a" / "b" / name).read_bytes() == ref.store.get(f"{ref.folder}/{name}")
    assert (done.files, done.new) == (2, True)
    assert done.bytes == sum(path.stat().st_size for path in (tmp_path / "a" / "b").iterdir())
    assert os.listdir(tmp_path / "a") == ["b"]
    assert not pull(ref, tmp_path / "a" / "b").new


@pytest.mark.parametrize("there", ["a file", "another file", "a changed file", "a link", "a link that leads nowhere"])
def test_what_lies_in_the_way_is_left(ref: ModelRef, folder: Path, tmp_path: Path, there: str) -> None:
    place = tmp_path / "place"
    if there == "a file":
        place.write_text("mine")
    elif there == "another file":
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    elif there == "a changed file":
        pull(ref, place)
        rewrite(place, licence="mine")
    else:
        place.symlink_to(folder if there == "a link" else tmp_path / "nowhere")
    before = {path: path.read_bytes() for path in [place, *place.glob("*")] if path.is_file()}
    with pytest.raises(RequestError, match=r"Something else lies in the way.*place"):
        pull(ref, place)
    assert {path: path.read_bytes() for path in [place, *place.glob("*")] if path.is_file()} == before


def test_an_empty_folder_is_filled(ref: ModelRef, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    assert pull(ref, tmp_path / "place").new


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("writes", range(3))
def test_a_pull_that_is_cut_off_leaves_no_folder(
    ref: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    write, left = Path.write_bytes, iter(range(writes))

    def dying(self: Path, data: bytes) -> int:
        if next(left, None) is None:
            raise Killed
        return write(self, data)

    def never(*paths: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", dying)
        patch.setattr(os, "rename", never)
        with pytest.raises(Killed):
            pull(ref, tmp_path / "place" / "inner")
    assert os.listdir(tmp_path / "place") == []
    assert pull(ref, tmp_path / "place" / "inner").new


def test_a_folder_that_comes_meanwhile_is_left(ref: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def late(source: Any, target: Any) -> None:
        (tmp_path / "place").mkdir()
        (tmp_path / "place" / "notes.txt").write_text("mine")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(WorkError, match=r"cannot be written.*place"):
        pull(ref, tmp_path / "place")
    assert [path.name for path in tmp_path.iterdir() if "place" in path.name] == ["place"]
    assert (tmp_path / "place" / "notes.txt").read_text() == "mine"


def test_a_damaged_model_is_not_pulled(ref: ModelRef, tmp_path: Path) -> None:
    key = f"{ref.folder}/weights.safetensors"
    data = bytearray(ref.store.get(key))
    data[-1] ^= 1
    ref.store.delete([key])
    ref.store.create(key, bytes(data))
    with pytest.raises(StoreError, match=r"not the one that was published.*weights\.safetensors"):
        pull(ref, tmp_path / "place")
    assert not (tmp_path / "place").exists()


HOSTILE_NAMES = ["../up", "a/b", "/etc/passwd", "..", ".", "", ".hidden", "card.json", "CARD.JSON", "card.sha256",
                 "a\x00b", "a\nb", "ü", "x" * 101, "a b", "C:\\x", "-rf", "a\u202eb"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_card_that_names_a_file_elsewhere_is_not_pulled(
    store: Store, ref: ModelRef, tmp_path: Path, name: str
) -> None:
    card = ref.card().as_json()
    digest = card["files"]["weights.safetensors"]
    files = {**card["files"], name: digest}
    store.create_json("models/bad/1/card.json", {**card, "name": "bad", "files": files, "sizes": {}})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError):
        pull(ModelRef(store, "bad", 1), tmp_path / "place")
    with pytest.raises(StoreError):
        copy(ModelRef(store, "bad", 1), store, "worse")
    assert sorted(tmp_path.rglob("*")) == before


# --- push ------------------------------------------------------------------------------------------------------------


def test_a_pushed_model_answers_the_same_and_says_whose_it_was(ref: ModelRef, folder: Path, other: Store) -> None:
    done = push(other, folder)
    assert (str(done.ref), done.copied_from, done.new) == ("jarvis/klu@1", "jarvis/klu@1", True)
    assert answer(done.ref) == answer(ref)
    card, copied = ref.card(), done.ref.card()
    assert copied.copied_from == "jarvis/klu@1"
    assert copied.model_copy(update={"copied_from": None}) == card  # its run, lineage, commit, figures
    named = push(other, folder, "user/mine")
    assert str(named.ref) == "user/mine@1"
    assert (named.ref.card().name, named.ref.card().copied_from) == ("user/mine", "jarvis/klu@1")


def test_the_same_content_is_there_once(ref: ModelRef, folder: Path, other: Store, tmp_path: Path) -> None:
    first = push(other, folder)
    before = other.list("")
    again = push(other, folder)
    assert (again.ref, again.new) == (first.ref, False)
    assert other.list("") == before
    copied = pull(first.ref, tmp_path / "copy").folder  # its card has other words of where it is from
    assert not push(other, copied).new
    assert push(ref.store, copied).ref == ref  # and there it is as what a run has published
    assert versions_of(ref.store, "jarvis/klu") == versions_of(other, "jarvis/klu") == [1]


def test_a_push_reads_the_cards_of_its_name_once(folder: Path, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        rewrite(folder, licence=f"licence {n}")
        push(other, folder)
    get_all, read = Store.get_all, []

    def noted(self: Store, keys: Any) -> Any:
        read.extend(key for key in keys if self is other and key.endswith("/card.json"))
        return get_all(self, keys)

    monkeypatch.setattr(Store, "get_all", noted)
    rewrite(folder, licence="another")
    push(other, folder)
    assert sorted(read) == [f"models/jarvis/klu/{n}/card.json" for n in (1, 2, 3, 4)]


def test_other_content_is_another_version(folder: Path, other: Store) -> None:
    push(other, folder)
    rewrite(folder, licence="CC-BY-4.0")  # the same files
    assert str(push(other, folder).ref) == "jarvis/klu@2"
    assert other.get_json("models/jarvis/klu/2/card.json")["licence"] == "CC-BY-4.0"
    assert versions_of(other, "jarvis/klu") == [1, 2]


def test_what_was_deleted_can_be_pushed_again_under_another_number(folder: Path, other: Store) -> None:
    for turn in (1, 2, 3):
        assert str(push(other, folder).ref) == f"jarvis/klu@{turn}"
        delete(other, f"jarvis/klu@{turn}")


def test_what_is_deleted_as_soon_as_it_is_there_was_pushed(
    folder: Path, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_once = exchange.publish_once

    def deleted(store: Store, *what: Any) -> ModelRef:
        made = publish_once(store, *what)
        delete(store, str(made))
        return made

    monkeypatch.setattr(exchange, "publish_once", deleted)
    pushed = push(other, folder)
    assert (str(pushed.ref), pushed.new, complete_versions(other)) == ("jarvis/klu@1", True, [])


def test_where_the_copy_there_is_damaged_nothing_is_said_to_be_done(folder: Path, other: Store) -> None:
    key = push(other, folder).ref.card_key
    card = other.get(key)
    other.delete([key])
    other.create(key, card[:-100])
    with pytest.raises(StoreError, match=r"damaged.*jarvis/klu@1.*xtlray models delete jarvis/klu@1 --force"):
        push(other, folder)
    delete(other, "jarvis/klu@1", force=True)
    assert str(push(other, folder).ref) == "jarvis/klu@2"


def test_a_folder_with_the_seal_of_its_card(ref: ModelRef, folder: Path, other: Store) -> None:
    """As a copy of the version's folder has it that was made without us."""
    (folder / "card.sha256").write_bytes(ref.store.get(f"{ref.folder}/card.sha256"))
    assert push(other, folder).new
    rewrite(folder, licence="mine")
    with pytest.raises(RequestError, match=r"card\.json is not the one that card\.sha256 is of"):
        push(other, folder, "user/mine")


def test_eight_that_push_the_same_at_once_make_one_version(folder: Path, other: Store) -> None:
    together = threading.Barrier(8)

    def go(_: int) -> ModelRef:
        together.wait()
        return push(other, folder, "user/mine").ref

    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(go, range(8)))
    assert len({str(ref) for ref in refs}) == 1
    assert complete_versions(other) == [(refs[0].name, refs[0].version)]
    load_model(refs[0])


def test_different_models_pushed_at_once_get_different_versions(folder: Path, other: Store, tmp_path: Path) -> None:
    folders = []
    for n in range(6):
        folders.append(tmp_path / f"copy{n}")
        folders[-1].mkdir()
        for path in folder.iterdir():
            (folders[-1] / path.name).write_bytes(path.read_bytes())
        rewrite(folders[-1], licence=f"licence {n}")
    with ThreadPoolExecutor(6) as pool:
        refs = list(pool.map(lambda each: push(other, each, "user/mine").ref, folders))
    assert sorted(ref.version for ref in refs) == versions_of(other, "user/mine") == list(range(1, 7))
    assert [ref.card().licence for ref in refs] == [f"licence {n}" for n in range(6)]


@pytest.mark.parametrize("writes", range(4))
def test_a_push_that_is_cut_off_shows_nothing_and_is_finished_by_the_next(
    folder: Path, other: Store, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """The number, the file, the decision, the card: the process ends after so many of these."""
    create, left = Store.create, iter(range(writes))

    def dying(self: Store, key: str, content: bytes, **how: Any) -> bool:
        if self is other and key.startswith("models/") and next(left, None) is None:
            raise Killed
        return create(self, key, content, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "create", dying)
        with pytest.raises(Killed):
            push(other, folder)
    assert complete_versions(other) == []
    assert str(push(other, folder).ref) == "jarvis/klu@1"
    assert complete_versions(other) == [("jarvis/klu", 1)]
    load_model(ModelRef(other, "jarvis/klu", 1))


@pytest.mark.parametrize("what", ["missing", "a file"])
def test_what_is_no_folder_is_refused(other: Store, tmp_path: Path, what: str) -> None:
    if what == "a file":
        (tmp_path / "place").write_text("x")
    with pytest.raises(RequestError, match="holds no model"):
        push(other, tmp_path / "place")


@pytest.mark.parametrize("name", ["builtin/klu", "../up", "a/b/c", "Klu", "a/3"])
def test_names_that_a_copy_cannot_have(ref: ModelRef, folder: Path, other: Store, name: str) -> None:
    for go in (lambda: push(other, folder, name), lambda: copy(ref, other, name)):
        with pytest.raises(RequestError, match=r"belong to the package|A model's name"):
            go()
    assert other.list("") == []


def test_a_model_of_the_package_needs_another_name(tmp_path: Path, other: Store) -> None:
    from xtlray.store import builtin

    package = ModelRef(builtin(), "builtin/oqmd", 1)
    folder = pull(package, tmp_path / "pulled").folder
    with pytest.raises(RequestError, match="belong to the package"):
        push(other, folder)
    done = push(other, folder, "oqmd")
    assert (str(done.ref), done.ref.card().copied_from) == ("oqmd@1", "builtin/oqmd@1")
    again = copy(package, other, "oqmd")
    assert (again.ref, again.new) == (done.ref, False)


# --- copy ------------------------------------------------------------------------------------------------------------


def test_a_copy_in_another_store(ref: ModelRef, other: Store) -> None:
    done = copy(ref, other)
    assert (str(done.ref), done.ref.store, done.new) == ("jarvis/klu@1", other, True)
    assert done.ref.card().copied_from == done.copied_from == "jarvis/klu@1"  # no folder of somebody's machine
    assert str(other.local_path) not in other.get(done.ref.card_key).decode()
    assert answer(done.ref) == answer(ref)
    assert not copy(ref, other).new
    assert str(copy(done.ref, ref.store, "user/mine").ref) == "user/mine@1"


def test_a_copy_beside_its_model(ref: ModelRef) -> None:
    assert copy(ref, ref.store) == exchange.Copied(ref, "jarvis/klu@1", new=False)
    done = copy(ref, ref.store, "user/mine")
    assert str(done.ref) == "user/mine@1"
    assert answer(done.ref) == answer(ref)


def test_a_copy_has_the_next_number(ref: ModelRef, other: Store) -> None:
    mine = tiny.model(other, "jarvis/klu", "run-00000002", [ConstantMember(2.0)])
    done = copy(ref, other)
    assert (mine.version, done.ref.version, done.ref.card().version) == (1, 2, 2)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/some/prefix", "m@3 in s3://bucket/some/prefix"),
        ("gs://Bucket", "m@3 in gs://Bucket"),
        ("s3://key:secret@bucket/prefix", "m@3"),
        ("s3://bucket/prefix?X-Amz-Signature=secret", "m@3"),
        ("file:///somebody/store", "m@3"),
    ],
)
def test_what_is_told_of_a_store(url: str, expected: str) -> None:
    class Elsewhere:
        local_path = Path("/somebody/store") if url.startswith("file") else None

    place: Any = Elsewhere()
    place.url = url
    assert whence(ModelRef(place, "m", 3)) == expected


def test_a_damaged_model_is_not_copied(ref: ModelRef, other: Store) -> None:
    key = f"{ref.folder}/weights.safetensors"
    ref.store.delete([key])
    ref.store.create(key, b"")
    with pytest.raises(StoreError):
        copy(ref, other)
    assert other.list("") == []
