"""The index beside many writers, readers and folders at once, any of which may be killed: it never misses a model."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from tests.registry.interleaving import Memory, Stage
from tests.registry.library import card
from xtlray.registry import compaction, index, reading, rebuilding
from xtlray.registry.manifests import Version

END = 1 << 60


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that is folded after three marks, whose segments are full with six rows, and that keeps nothing old."""
    monkeypatch.setattr(compaction, "FOLD_AT", 3)
    monkeypatch.setattr(compaction, "FULL", 6)
    monkeypatch.setattr(compaction, "LEASE", timedelta(0))
    monkeypatch.setattr(index, "KEPT", timedelta(0))
    monkeypatch.setattr(reading, "_TRIES", 1000)
    monkeypatch.setattr(rebuilding, "_TRIES", 1000)
    numbers = count()
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
    monkeypatch.setattr(index, "clock", lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(numbers)))


class Truth:
    """When each version was published and deleted, in calls to the store, and whether what was found can be so."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.begun: dict[Version, int] = {}
        self.published: dict[Version, int] = {}
        self.deleting: dict[Version, int] = {}
        self.deleted: dict[Version, int] = {}
        self.searches = 0

    def publish(self, name: str, version: int) -> None:
        store = self.stage.store
        with index.publishing(store, name, version):
            self.begun[name, version] = self.stage.now
            store.create_json(index.card_key((name, version)), card(name, version))
            self.published[name, version] = self.stage.now

    def delete(self, name: str, version: int) -> None:
        store = self.stage.store
        self.deleting[name, version] = self.stage.now
        index.note_deleted(store, name, version)
        store.delete([index.card_key((name, version))])
        self.deleted[name, version] = self.stage.now

    def check(self) -> None:
        start = self.stage.now
        found = search(self.stage.store)
        end = self.stage.now
        self.searches += 1
        due = {v for v, when in self.published.items() if when < start and self.deleting.get(v, END) > end}
        assert due - found == set(), "published, and not found"
        late = {v for v in found if self.begun.get(v, END) > end}
        assert late == set(), "found before it was published"
        dead = {v for v in found if self.deleted.get(v, END) < start}
        assert dead == set(), "found after it was deleted"


def search(store: Memory) -> set[Version]:
    rows = reading.rows_of_the_library(store, lambda text: None).to_pylist()
    found = [(row["name"], row["version"]) for row in rows if not row["gone"]]
    assert len(found) == len(set(found)), "found twice"
    return set(found)


def cards(store: Memory) -> set[Version]:
    keys = [key.split("/") for key in store.files if key.startswith("models/")]
    return {("/".join(parts[1:-2]), int(parts[-2])) for parts in keys}


def publisher(truth: Truth, name: str, dice: random.Random) -> Callable[[], None]:
    def act() -> None:
        for version in range(1, 6):
            truth.publish(name, version)
            if dice.random() < 0.4:
                truth.delete(name, dice.randint(1, version))

    return act


def play(seed: int, kill: float) -> Memory:
    """One performance of everybody at once. What is found at the end is what is there."""
    store = Memory()
    stage = Stage(store, seed, kill)
    truth = Truth(stage)
    dice = random.Random(seed)

    def searcher() -> None:
        for _ in range(6):
            truth.check()

    def folder() -> None:
        for _ in range(4):
            compaction.fold(store, whole=dice.random() < 0.3)

    def rebuilder() -> None:
        rebuilding.rebuild(store)

    actors = [publisher(truth, f"p/m{n}", random.Random(f"{seed} {n}")) for n in range(4)]
    stage.play([*actors, folder, rebuilder], [searcher, searcher])
    assert truth.searches == 12
    assert search(store) == cards(store)
    return store


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kill", [0.0, 0.01])
def test_whatever_comes_between(small: None, seed: int, kill: float) -> None:
    store = play(seed, kill)
    before = cards(store)
    assert compaction.fold(store, whole=True)
    assert search(store) == before
    rebuilding.rebuild(store)
    assert search(store) == before
    rebuilding.sweep(store)
    assert search(store) == before
