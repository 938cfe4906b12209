"""The index as publishing and reading see it: what is written, what it costs, what a damaged one says."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.registry.interleaving import Memory
from tests.registry.library import card, found, put, remove
from xtlray.errors import RequestError, StoreError, StoreGoneError
from xtlray.registry import compaction, index, manifests, reading, rebuilding
from xtlray.store import Store

MANIFEST = "index/models/manifests/000000000001.json"


def test_what_was_published_is_found_at_once_and_what_was_deleted_is_not(store: Store) -> None:
    assert found(store) == set()
    assert store.list("") == []  # looking writes nothing
    put(store, "user/gap", 1)
    put(store, "klu", 3)
    assert found(store) == {("user/gap", 1), ("klu", 3)}
    remove(store, "klu", 3)
    assert found(store) == {("user/gap", 1)}
    assert compaction.fold(store)
    assert found(store) == {("user/gap", 1)}


def test_a_mark_alone_is_no_model(store: Store) -> None:
    """Whoever was killed between the mark and the card has published nothing; whoever comes again publishes it."""
    index.note_published(store, "user/gap", 1)
    assert found(store) == set()
    compaction.fold(store)
    assert found(store) == set()
    put(store, "user/gap", 1)
    compaction.fold(store)
    assert found(store) == {("user/gap", 1)}


def test_a_deletion_that_was_killed_before_the_card_went_has_deleted_nothing(store: Store) -> None:
    put(store)
    index.note_deleted(store, "user/gap", 1)
    compaction.fold(store)
    assert found(store) == {("user/gap", 1)}
    store.delete([index.card_key(("user/gap", 1))])
    assert found(store) == set()
    compaction.fold(store)
    assert manifests.read_manifest(store, 3).waiting == ()
    assert found(store) == set()


def test_a_version_that_comes_back_is_found(store: Store) -> None:
    put(store)
    remove(store, "user/gap", 1)
    compaction.fold(store)
    put(store)
    assert found(store) == {("user/gap", 1)}
    compaction.fold(store)
    assert found(store) == {("user/gap", 1)}


def test_of_racing_publishers_the_first_makes_the_first_manifest() -> None:
    store = Memory()
    put(store, "a", 1)
    before = store.files[MANIFEST]
    assert index.begin(store) == 1
    assert store.files[MANIFEST] is before
    assert json.loads(before)["complete"]


@pytest.mark.parametrize("name", ["klu", "jarvis/klu", "a" * 100 + "/" + "b" * 100, "x..y/z-1_2"])
def test_every_name_has_a_mark(store: Store, name: str) -> None:
    put(store, name, 12)
    (mark,) = index.marks(store, 1)
    assert (mark.about, mark.what) == ((name, 12), "published")
    assert abs(index.clock() - manifests.moment(mark.when)) < timedelta(minutes=1)
    assert max(map(len, store.list(index.NEW)[0].split("/"))) < 255  # the longest that a file's name may be
    assert found(store) == {(name, 12)}


def test_a_name_that_no_model_can_have_gets_no_mark(store: Store) -> None:
    with pytest.raises(RequestError, match="A model's name"):
        index.note_published(store, "../secret", 1)
    assert store.list("") == []


@pytest.mark.parametrize(
    "stray",
    [
        "notes.txt",
        "..!..!secret!1!published!20260101T000000Z!ab.json",
        "klu!0!published!20260101T000000Z!ab.json",
        "klu!1!moved!20260101T000000Z!ab.json",
        "klu!1!published!20261301T000000Z!ab.json",
    ],
)
def test_what_is_no_mark_is_passed_over_and_said(stray: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Memory()
    put(store)
    store.files[f"index/models/new/000000000001/{stray}"] = b"{}"
    with caplog.at_level(logging.WARNING):
        assert found(store) == {("user/gap", 1)}
    assert stray in caplog.text


# --- what it costs ---------------------------------------------------------------------------------------------------


def calls_of_a_publication(store: Memory, n: int) -> list[tuple[str, str]]:
    store.calls.clear()
    put(store, f"bench/m{n}", 1)
    return [(verb, "/".join(key.split("/")[:3])) for verb, key in store.calls]


def test_publishing_costs_the_same_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FOLD_AT", 10)
    store = Memory()
    put(store, "first", 1)
    few = calls_of_a_publication(store, 0)
    assert few == [
        ("list", "index/models/manifests"),
        ("create", "index/models/new"),
        ("list", "index/models/manifests"),
        ("create", "models/bench/m0"),
        ("list", "index/models/new"),
    ]
    counts = [len(calls_of_a_publication(store, n)) for n in range(1, 200)]
    assert sorted(counts)[: len(counts) * 8 // 10] == [len(few)] * (len(counts) * 8 // 10)
    # One in ten folds: the cards of its marks, a segment or two, a manifest, what was replaced.
    assert max(counts) < len(few) + 10 + 20
    assert not any((verb, key) == ("list", "models") for verb, key in store.calls)


def test_a_search_reads_the_newest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FOLD_AT", 10)
    monkeypatch.setattr(compaction, "FULL", 40)
    store = Memory()
    for n in range(205):
        put(store, f"bench/m{n}", 1)
    store.calls.clear()
    assert len(found(store)) == 205
    assert ("list", "models") not in store.calls
    cards = [key for verb, key in store.calls if verb == "get" and key.startswith("models/")]
    assert len(cards) <= 10
    assert len(store.calls) - len(cards) < 20


def test_a_long_tail_is_folded_by_who_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each publisher was killed before it could."""
    monkeypatch.setattr(compaction, "FOLD_AT", 10)
    monkeypatch.setattr(reading, "_LONG_TAIL", 40)
    store = Memory()
    for n in range(41):
        index.note_published(store, f"bench/m{n}", 1)
        store.create_json(index.card_key((f"bench/m{n}", 1)), card(f"bench/m{n}", 1))
    assert manifests.newest(store) == 1
    assert len(found(store)) == 41
    assert manifests.newest(store) == 2
    assert len(found(store)) == 41


# --- when something is wrong -----------------------------------------------------------------------------------------


def test_a_failing_fold_does_not_fail_the_publication(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, store: Store
) -> None:
    def fail(store: Store, number: int) -> bool:
        raise manifests.damaged("it")

    monkeypatch.setattr(compaction, "fold_if_due", fail)
    put(store)
    assert "could not be brought up to date" in caplog.text
    assert found(store) == {("user/gap", 1)}

    def gone(store: Store, number: int) -> bool:
        raise StoreGoneError("The store has been out of reach for 120 s")

    monkeypatch.setattr(compaction, "fold_if_due", gone)
    with pytest.raises(StoreGoneError):
        put(store, version=2)


def changed(store: Store, key: str, data: bytes) -> None:
    store.delete([key])
    store.create(key, data)


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": "x"}', b"\xff", json.dumps({"format": 1, "when": 3}).encode()],
)
def test_a_damaged_manifest_says_how_to_mend_it_and_publishing_goes_on(store: Store, data: bytes) -> None:
    put(store, version=1)
    changed(store, MANIFEST, data)
    with pytest.raises(StoreError, match=r"index of the library is damaged.*0001\.json.*models index --rebuild"):
        found(store)
    put(store, version=2)
    rebuilding.rebuild(store)
    assert found(store) == {("user/gap", 1), ("user/gap", 2)}


def test_a_name_in_a_manifest_cannot_leave_its_folder(store: Store) -> None:
    index.note_published(store, "user/gap", 1)
    compaction.fold(store)
    key = manifests.manifest_key(2)
    value: dict[str, Any] = store.get_json(key)
    value["waiting"][0]["name"] = "../../secret"
    changed(store, key, json.dumps(value).encode())
    with pytest.raises(StoreError, match="damaged"):
        found(store)


def test_a_manifest_of_a_newer_program_is_refused_by_name(store: Store) -> None:
    put(store)
    value = store.get_json(MANIFEST)
    changed(store, MANIFEST, json.dumps({**value, "format": 2}).encode())
    with pytest.raises(StoreError, match=r"newer xtlray.*format 2.*upgrade"):
        found(store)


@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_a_damaged_segment_says_how_to_mend_it(store: Store, harm: str) -> None:
    put(store)
    compaction.fold(store)
    (key,) = store.list(index.SEGMENTS)
    data = store.get(key)
    store.delete([key])
    if harm != "delete":
        middle = len(data) // 2
        store.create(key, data[:middle] + (bytes([data[middle] ^ 1]) + data[middle + 1 :] if harm == "flip" else b""))
    with pytest.raises(StoreError, match=r"index of the library is damaged.*models index --rebuild"):
        found(store)
    rebuilding.rebuild(store)
    assert found(store) == {("user/gap", 1)}


def test_a_publisher_that_took_an_hour_writes_its_mark_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(index, "clock", lambda: now)
    with index.publishing(store, "user/gap", 1):
        now += timedelta(hours=2)
        store.create_json(index.card_key(("user/gap", 1)), card())
    assert {mark.when for mark in index.marks(store, 1)} == {"20260101T000000Z", "20260101T020000Z"}
