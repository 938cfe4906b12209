"""The library on a real S3 server: many publish at once, some are killed, and a reader never sees a partial model."""

import threading

import pytest

from tests.faults.crowd import Crowd
from xtlray.errors import StoreError
from xtlray.registry.model import load_model
from xtlray.registry.verifying import verify
from xtlray.registry.versions import ModelRef, complete_versions, resolve

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

NAMES = ["user/a", "user/b", "user/c"]
WRITERS, EACH = 8, 50


@pytest.fixture
def store(s3_store):
    return s3_store


class Reader(threading.Thread):
    """Looks at the library again and again, and loads a model that it has not seen yet; keeps what was wrong."""

    def __init__(self, store):
        super().__init__(daemon=True)
        self.store, self.states, self.known, self.wrong, self.loaded = store, set(), set(), [], 0
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                state = tuple(complete_versions(self.store))
                newest = max(set(state) - self.known, default=None)
                if state not in self.states and newest is not None:
                    load_model(ModelRef(self.store, *newest)).predict("SiO2")
                    self.known.add(newest)
                    self.loaded += 1
                self.states.add(state)
            except Exception as error:  # whatever it is, it is not what a reader should see
                self.wrong.append(f"{type(error).__name__}: {error}")


def writer(store, who, count=EACH):
    return ["tests.faults.publisher", store.url, who, str(count), *NAMES]


def test_many_publish_at_once_some_are_killed_and_a_reader_looks_on(store):
    reader = Reader(store)
    with Crowd([writer(store, f"writer{k}") for k in range(WRITERS)]) as crowd:
        try:
            crowd.begin(200)
            reader.start()
            for k, published in ((0, 5), (1, 12), (2, 20)):
                crowd.kill(k, after=published, seconds=200)
            crowd.join(400)
        finally:
            reader.over.set()
    reader.join(60)

    assert crowd.codes == [-9, -9, -9, 0, 0, 0, 0, 0]
    returned = [line for lines in crowd.done for line in lines]
    assert len(returned) >= 5 * EACH + 5 + 12 + 20
    assert len(set(returned)) == len(returned)  # no version was given twice
    there = {f"{name}@{version}" for name, version in complete_versions(store)}
    assert set(returned) <= there
    assert len(there) <= len(returned) + 3  # beyond those, what a killed writer had done and not yet said
    assert reader.wrong == []
    assert len(reader.states) >= 100
    assert reader.loaded >= 99
    for ref in sorted(there):
        assert verify(resolve(store, ref))["status"] == "ok"


def test_a_damaged_file_is_refused(store):
    """The check above can fail: what it looks for is noticed."""
    with Crowd([writer(store, "writer", 1)]) as crowd:
        crowd.begin(200)
        crowd.join(200)
    ref = ModelRef(store, *complete_versions(store)[0])
    [weights] = [name for name in ref.card().files if name.endswith(".safetensors")]
    key = f"{ref.folder}/{weights}"
    data = bytearray(store.get(key))
    data[-1] ^= 1
    store.delete([key])
    assert store.create(key, bytes(data))
    with pytest.raises(StoreError, match="not the one that was published"):
        verify(ref)
