"""Models that are pushed and deleted by many at once, some of whom are killed: no reader ever sees a part of one."""

import threading

import pytest

from tests import tiny
from tests.faults.crowd import Crowd
from tests.faults.harness import wait_for
from xtlray.errors import StoreError
from xtlray.registry.exchange import pull
from xtlray.registry.leftovers import find, remove
from xtlray.registry.model import load_model
from xtlray.registry.removal import remove as finish
from xtlray.registry.versions import ModelRef, complete_versions, versions_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

NAME = "user/mine"
PUSHES, DELETIONS = 25, 10


class Reader(threading.Thread):
    """Looks at every version again and again; what it cannot load must have been deleted meanwhile."""

    def __init__(self, store):
        super().__init__(daemon=True)
        self.store, self.seen, self.wrong, self.over = store, set(), [], threading.Event()

    def run(self):
        while not self.over.is_set():
            for n in versions_of(self.store, NAME):
                ref = ModelRef(self.store, NAME, n)
                try:
                    load_model(ref)
                    self.seen.add(n)
                except StoreError as error:
                    if ref.exists():
                        self.wrong.append(f"{ref}: {error}")


def test_pushes_and_deletions_at_once_some_of_them_killed(store, tmp_path):
    folder = pull(tiny.model(store, "source"), tmp_path / "pulled").folder

    def writer(what, who, count):
        return ["tests.faults.pusher", store.url, str(folder), NAME, what, who, str(count)]

    commands = [writer("push", f"pusher{k}", PUSHES) for k in range(3)]
    commands += [writer("delete", f"deleter{k}", DELETIONS) for k in range(2)]
    reader = Reader(store)
    with Crowd(commands) as crowd:
        try:
            crowd.begin(150)
            reader.start()
            crowd.kill(0, after=8, seconds=100)
            crowd.kill(3, after=4, seconds=100)
            crowd.join(150)
        finally:
            reader.over.set()
    reader.join(60)

    assert crowd.codes == [-9, 0, 0, -9, 0]
    assert reader.wrong == []
    assert len(reader.seen) >= 20
    pushed = [line for lines in crowd.done[:3] for line in lines]
    deleted = [line for lines in crowd.done[3:] for line in lines]
    assert len(set(pushed)) == len(pushed) >= 2 * PUSHES + 8
    assert len(deleted) >= DELETIONS + 4
    there = {f"{name}@{version}" for name, version in complete_versions(store)} - {"source@1"}
    assert len({*pushed} - {*deleted} - there) <= 1  # what the killed one deleted and did not say
    assert not there & {*deleted}
    assert len(there - {*pushed}) <= 1  # what the killed one pushed and did not say

    for each in find(store, 0).leftovers:
        assert remove(store, each)
    whole = {f"models/{name}/{version}" for name, version in complete_versions(store)}
    lie = {key.rsplit("/", 1)[0] for key in store.list("models") if "/aliases/" not in key}
    assert lie == whole
    for name, version in complete_versions(store):
        load_model(ModelRef(store, name, version))


def test_what_the_reader_looks_for_is_noticed(store):
    """The check above can fail."""
    ref = tiny.model(store, NAME)
    store.delete([f"{ref.folder}/weights.safetensors"])
    reader = Reader(store)
    reader.start()
    wait_for(lambda: reader.wrong, "the reader", 20)
    reader.over.set()
    reader.join(20)
    finish(ref)
    assert "weights.safetensors" in reader.wrong[0]
