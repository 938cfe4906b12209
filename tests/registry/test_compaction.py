"""Folding: when, how much at once, what waits, what is cleared away; and what comes between its steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.registry.interleaving import Memory
from tests.registry.library import card, found, put, remove
from xtlray.registry import compaction, index, manifests, rebuilding
from xtlray.registry.manifests import Segment
from xtlray.store import Store


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(index, "clock", clock)
    return clock


def segments_of(store: Store) -> list[Segment]:
    return list(manifests.read_manifest(store, manifests.newest(store)).segments)


def put_many(store: Store, first: int, many: int) -> None:
    for n in range(first, first + many):
        put(store, f"bench/m{n}", 1)


# --- when, and how much ----------------------------------------------------------------------------------------------


def test_the_publication_that_makes_it_due_folds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FOLD_AT", 5)
    put_many(store, 0, 4)
    assert manifests.newest(store) == 1
    put_many(store, 4, 1)
    assert manifests.newest(store) == 2
    (segment,) = segments_of(store)
    assert (segment.rows, segment.first, segment.last) == (5, 2, 2)
    assert index.marks(store, 2) == []


def test_one_at_a_time_is_at_it_unless_it_was_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(compaction, "FOLD_AT", 5)
    put_many(store, 0, 4)
    assert compaction._leased(store, 1)  # another began to fold
    put_many(store, 4, 3)
    assert manifests.newest(store) == 1
    clock.forward(seconds=31)
    put_many(store, 7, 1)
    assert manifests.newest(store) == 2
    assert segments_of(store)[0].rows == 8


def test_segments_grow_like_a_counter_and_a_full_one_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FOLD_AT", 10**6)
    monkeypatch.setattr(compaction, "FULL", 16)
    sizes, written, full = [], 0, set()
    for n in range(24):
        before = {segment.key for segment in segments_of(store)} if n else set()
        put_many(store, 4 * n, 4)
        compaction.fold(store)
        there = segments_of(store)
        assert full <= {segment.key for segment in there}
        full = {segment.key for segment in there if segment.rows >= 16}
        written += sum(segment.rows for segment in there if segment.key not in before)
        sizes.append([segment.rows for segment in there])
    assert sum(sizes[-1]) == 96
    assert max(map(len, sizes)) <= 96 // 16 + 3
    assert max(max(each) for each in sizes) < 2 * 16
    assert written <= 96 * 4  # each row a few times
    assert len(found(store)) == 96


def test_what_can_be_merged_is_bounded() -> None:
    def segment(rows: int) -> Segment:
        return Segment(f"k{rows}", rows, 0, 1, "", 1, 1)

    def merged(new: int, *rows: int) -> list[int]:
        return [each.rows for each in compaction._mergeable([segment(n) for n in rows], new)]

    full = compaction.FULL
    assert merged(100, full, 100, 5000) == [100]
    assert merged(100, 3000, 200, 100, 400, 800) == [100, 200, 400, 800, 3000]
    assert merged(100, 301) == []
    assert merged(100, 201, 100) == [100, 201]
    assert merged(full, 100) == []
    assert merged(0, 100, full) == []
    assert sum(merged(full - 1, full - 1, full - 2)) < 2 * full


# --- what waits ------------------------------------------------------------------------------------------------------


def test_a_mark_waits_for_its_card_for_a_day(store: Store, clock: Clock) -> None:
    index.note_published(store, "late", 1)
    for _ in range(3):
        clock.forward(hours=7)
        compaction.fold(store)
    store.create_json(index.card_key(("late", 1)), card("late", 1))
    assert found(store) == {("late", 1)}
    compaction.fold(store)
    assert found(store) == {("late", 1)}
    assert manifests.read_manifest(store, manifests.newest(store)).waiting == ()


def test_a_mark_without_its_card_is_given_up_after_a_day(store: Store, clock: Clock) -> None:
    index.note_published(store, "never", 1)
    put(store, "there", 1)
    index.note_deleted(store, "there", 1)
    compaction.fold(store)
    assert len(manifests.read_manifest(store, 2).waiting) == 2
    clock.forward(hours=25)
    compaction.fold(store)
    assert manifests.read_manifest(store, 3).waiting == ()
    assert found(store) == {("there", 1)}


def test_many_marks_of_one_version_wait_as_one(store: Store) -> None:
    for _ in range(5):
        index.note_published(store, "late", 1)
    compaction.fold(store)
    assert [mark.about for mark in manifests.read_manifest(store, 2).waiting] == [("late", 1)]


def test_a_writer_with_a_wrong_clock_is_waited_for_all_the_same(store: Store, clock: Clock) -> None:
    clock.forward(days=-400)
    index.note_published(store, "late", 1)
    clock.forward(days=400)
    compaction.fold(store)
    store.create_json(index.card_key(("late", 1)), card("late", 1))
    assert found(store) == {("late", 1)}


def test_a_card_that_cannot_be_read_is_not_forgotten(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    index.note_published(store, "odd", 1)
    store.create(index.card_key(("odd", 1)), b"{}")
    put(store, "good", 1)
    for _ in range(2):
        caplog.clear()
        assert found(store) == {("good", 1)}
        assert [record.getMessage().split(":")[1].split(";")[0] for record in caplog.records] == [" odd@1"]
        compaction.fold(store)


# --- what is cleared away --------------------------------------------------------------------------------------------


def test_what_was_replaced_goes_an_hour_later(store: Store, clock: Clock) -> None:
    for n in range(3):
        put(store, f"m{n}", 1)
        compaction.fold(store)
    before = set(store.list(manifests.HOME))
    assert {manifests.manifest_key(n) for n in (1, 2, 3, 4)} <= before
    clock.forward(minutes=61)
    put(store, "m3", 1)
    compaction.fold(store)
    after = set(store.list(manifests.HOME))
    assert {manifests.manifest_key(n) for n in (1, 2, 3)} & after == set()
    assert {manifests.manifest_key(n) for n in (4, 5)} <= after
    assert store.list(index.marks_folder(1)) == store.list(index.marks_folder(2)) == []
    assert [each.number for each in manifests.read_manifest(store, 5).retired] == [4]
    assert len(found(store)) == 4
    needed = {segment.key for n in (4, 5) for segment in manifests.read_manifest(store, n).segments}
    assert set(store.list(index.SEGMENTS)) == needed


def test_a_fold_that_came_too_late_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", 1)
    create = manifests.Manifest.create

    def late(manifest: manifests.Manifest, store: Store) -> bool:
        monkeypatch.setattr(manifests.Manifest, "create", create)
        assert compaction.fold(store)
        return create(manifest, store)

    monkeypatch.setattr(manifests.Manifest, "create", late)
    assert not compaction.fold(store)
    assert manifests.newest(store) == 2
    assert store.list(index.SEGMENTS) == [segments_of(store)[0].key]


def test_merging_all_leaves_nothing_of_what_was_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FULL", 3)
    put_many(store, 0, 4)
    compaction.fold(store)
    put_many(store, 10, 4)
    remove(store, "bench/m1", 1)
    compaction.fold(store)
    assert [(each.rows, each.gone) for each in segments_of(store)] == [(4, 0), (5, 1)]
    assert len(found(store)) == 7
    compaction.fold(store, whole=True)
    assert [(each.rows, each.gone) for each in segments_of(store)] == [(6, 0), (1, 0)]
    assert len(found(store)) == 7
    assert manifests.read_manifest(store, manifests.newest(store)).cleared == manifests.newest(store)


# --- what comes between ----------------------------------------------------------------------------------------------


class Interrupted(Memory):
    """A store in memory to which something happens right before one of its calls."""

    def __init__(self, verb: str, key: str, what: Callable[[Memory], None]) -> None:
        super().__init__()
        self.at, self.what, self.armed = (verb, key), what, False

    def _turn(self, verb: str, key: str) -> None:
        super()._turn(verb, key)
        if self.armed and verb == self.at[0] and key.startswith(self.at[1]):
            self.armed = False
            self.what(self)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "KEPT", timedelta(0))


def fold_thrice(store: Memory) -> None:
    for n in range(3):
        put(store, f"between{n}", 1)
        assert compaction.fold(store)


BETWEEN = {(f"between{n}", 1) for n in range(3)}


@pytest.mark.parametrize(
    ("verb", "key"),
    [
        ("create", "index/models/new"),  # it knows the newest manifest, and has not written its mark
        ("list", "index/models/manifests"),  # it has, and has not looked again (see `skip`)
        ("create", "models/"),  # it has placed its mark, and not written its card
    ],
)
@pytest.mark.parametrize("skip", [0, 1])
def test_a_publisher_that_sleeps_while_others_fold_is_found(forgetful: None, verb: str, key: str, skip: int) -> None:
    calls = [skip]

    def others(store: Memory) -> None:
        if calls[0] and verb == "list":
            calls[0] -= 1
            store.armed = True
            return
        fold_thrice(store)

    store = Interrupted(verb, key, others)
    put(store, "first", 1)
    store.armed = True
    put(store, "sleeper", 1)
    assert not store.armed
    assert found(store) == {("first", 1), ("sleeper", 1), *BETWEEN}
    for _ in range(3):
        compaction.fold(store)
        assert found(store) == {("first", 1), ("sleeper", 1), *BETWEEN}


def test_a_mark_that_comes_after_the_listing_of_a_fold_is_found(forgetful: None) -> None:
    store = Interrupted("create", "index/models/manifests", lambda store: put(store, "sleeper", 1))
    put(store, "first", 1)
    store.armed = True
    assert compaction.fold(store)
    assert not store.armed
    assert [mark.about[0] for mark in index.marks(store, 1)] == ["first", "sleeper"]
    for _ in range(3):
        assert found(store) == {("first", 1), ("sleeper", 1)}
        compaction.fold(store)


@pytest.mark.parametrize(
    ("verb", "key"),
    [
        ("get", "index/models/manifests"),
        ("list", "index/models/new"),
        ("get", "index/models/segments"),
        ("exists", "index/models/manifests"),
    ],
)
def test_a_reader_under_which_all_was_cleared_away_begins_anew(forgetful: None, verb: str, key: str) -> None:
    store = Interrupted(verb, key, fold_thrice)
    put(store, "first", 1)
    compaction.fold(store)
    put(store, "second", 1)
    store.armed = True
    assert found(store) == {("first", 1), ("second", 1), *BETWEEN}
    assert not store.armed


def test_a_fold_under_which_all_was_cleared_away_gives_up(forgetful: None) -> None:
    store = Interrupted("get", "index/models/segments", fold_thrice)
    put(store, "first", 1)
    compaction.fold(store)
    put(store, "second", 1)
    store.armed = True
    assert not compaction.fold(store)
    assert found(store) == {("first", 1), ("second", 1), *BETWEEN}


def delete_and_forget(store: Memory) -> None:
    remove(store, "doomed", 1)
    assert compaction.fold(store, whole=True)


@pytest.mark.parametrize("happens", [delete_and_forget, lambda store: remove(store, "doomed", 1)])
def test_what_was_deleted_while_all_cards_were_read_does_not_come_back(
    forgetful: None, happens: Callable[[Memory], None]
) -> None:
    store = Interrupted("create", "index/models/segments", happens)  # all cards were read
    put(store, "doomed", 1)
    put(store, "first", 1)
    store.armed = True
    rebuilding.rebuild(store)
    assert not store.armed
    for _ in range(3):
        assert found(store) == {("first", 1)}
        compaction.fold(store)


def test_what_is_published_and_folded_while_all_cards_are_read_is_found(forgetful: None) -> None:
    store = Interrupted("create", "index/models/segments", fold_thrice)
    put(store, "first", 1)
    store.armed = True
    rebuilding.rebuild(store)
    assert not store.armed
    assert found(store) == {("first", 1), *BETWEEN}
