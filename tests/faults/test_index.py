"""The index beside processes that publish, delete and fold, and are killed in the middle: a search misses nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.registry.library import found
from xtlray.registry import compaction, manifests, rebuilding
from xtlray.registry.versions import complete_versions
from xtlray.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

WRITERS, LIVES, EACH = 4, 3, 60


class Writer(threading.Thread):
    """A name whose versions a process publishes and deletes; killed at a random word and begun again, `LIVES` times."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(daemon=True)
        self.store, self.name_of = store, name
        self.dice = random.Random(name)
        self.said: list[str] = []
        self.killed = 0

    def run(self) -> None:
        for life in range(LIVES):
            first = 1 + 1000 * life  # a number is never given twice
            words = ["-m", "tests.faults.indexer", self.store.url, self.name_of, str(first), str(EACH)]
            last = self.dice.randint(5, EACH) if life < LIVES - 1 else None
            with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
                for n, line in enumerate(process.stdout or (), start=1):
                    self.said.append(line.strip())
                    if n == last:
                        process.kill()
                        self.killed += 1


def after(writers: list[Writer], mark: str) -> set[tuple[str, int]]:
    """The versions that the writers have said with that mark."""
    lines = [line for writer in writers for line in list(writer.said) if line.startswith(mark)]
    return {(line[1:].split("@")[0], int(line.split("@")[1])) for line in lines}


@pytest.mark.parametrize("where", ["store", "s3_store"])
def test_a_search_misses_nothing_whoever_is_killed(where: str, request: Any) -> None:
    store: Store = request.getfixturevalue(where)
    writers = [Writer(store, f"user/w{k}") for k in range(WRITERS)]
    for writer in writers:
        writer.start()
    searches = 0
    while any(writer.is_alive() for writer in writers):
        due, dead = after(writers, "+"), after(writers, "-")
        there = found(store)
        assert due - after(writers, "?") - there == set(), "published, and not found"
        assert dead & there == set(), "deleted, and found"
        searches += 1
    for writer in writers:
        writer.join()
    assert [writer.killed for writer in writers] == [LIVES - 1] * WRITERS
    assert searches >= 5
    assert manifests.newest(store) > 20
    cards = set(complete_versions(store))
    assert after(writers, "+") - after(writers, "?") <= cards
    assert found(store) == cards
    assert compaction.fold(store, whole=True)
    assert found(store) == cards
    rebuilding.rebuild(store)
    rebuilding.sweep(store)
    assert found(store) == cards
