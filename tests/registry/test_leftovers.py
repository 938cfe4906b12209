"""What interrupted runs leave behind: all of it is found, and nothing that anybody needs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xtlray.data.dataset import open_dataset
from xtlray.registry import leftovers
from xtlray.registry.exchange import push
from xtlray.registry.leftovers import KINDS, Leftover, find, remove
from xtlray.registry.model import load_model
from xtlray.registry.promotion import promote
from xtlray.registry.versions import ModelRef
from xtlray.store import Store

HASH = "ab" * 32
HOUR = 3600


@pytest.fixture
def ref(store: Store) -> ModelRef:
    """A complete model of a run, with an alias, of a dataset."""
    made = tiny.model(store, "jarvis/klu", "run-00000001")
    promote(store, "jarvis/klu@1", "production")
    return made


def put(store: Store, *keys: str, hours: float = 48) -> None:
    """Keys that were written some hours ago."""
    for key in keys:
        store.create(key, b"x" * 1000)
        age(store, key, hours)


def age(store: Store, key: str, hours: float) -> None:
    assert store.local_path
    then = time.time() - hours * HOUR
    os.utime(store.local_path / key, (then, then))


def age_all(store: Store, hours: float = 48) -> None:
    for key in store.list(""):
        age(store, key, hours)


def places(store: Store, hours: float = 24) -> list[tuple[str, str]]:
    return [(each.kind, each.place) for each in find(store, hours).leftovers]


def keys_of(leftovers: list[Leftover]) -> Iterator[str]:
    return (item.key for each in leftovers for item in each.items)


# What lies in a store, and the kind of leftover that it is; None is needed.
THERE: dict[str, str | None] = {
    "models/jarvis/klu/2/weights.safetensors": "unpublished models",
    "models/jarvis/klu/2/card.sha256": "unpublished models",
    "models/source/1/weights.safetensors": "unpublished models",
    "models/source/1/m0.skops": "unpublished models",
    "models/source/aliases/.versions/1.json": None,
    "models/jarvis/klu/aliases/.versions/2.json": None,
    "models/jarvis/klu/aliases/.copies/abc.json": None,
    "models/jarvis/gone/3/weights.safetensors": "deleted models",
    "models/jarvis/gone/aliases/.deleted/3.json": None,
    "models/Odd Name/1/file": None,
    "models/jarvis/notes.txt": None,
    "models/jarvis/klu/007/file": None,
    f"datasets/user/half/{HASH}/part-00000.parquet": "datasets",
    f"datasets/user/half/{HASH}/rejected-1.csv": "datasets",
    f"datasets/demo/of_the_package/{HASH}/attributes/1-train.parquet": None,
    f"datasets/user/whole/{HASH}/part-00000.parquet": None,
    f"datasets/user/whole/{HASH}/card.json": None,
    "datasets/user/half/current/1.json": None,
    "runs/over/outcome.json": None,
    "runs/over/job.yaml": None,
    "runs/over/trials/t.json": None,
    "runs/over/results/transfer/r.json": None,
    "runs/over/predictions/p.safetensors": None,
    "runs/over/published/jarvis/klu.json": None,
    "runs/over/members/abc-weights.safetensors": "members",
    "runs/over/attempts/1/environment.json": None,
    "runs/over/attempts/1/log.txt": None,
    "runs/over/attempts/1/bench.json": None,
    "runs/over/attempts/1/checkpoints/000000010/model.safetensors": "checkpoints",
    "runs/over/attempts/1/checkpoints/000000010/state.json": "checkpoints",
    "runs/over/attempts/1/ray/train/x": "ray",
    "runs/over/attempts/1/scratch/store/runs/inner/outcome.json": "benchmarks",
    "runs/over/attempts/1/scratch/store/models/m/1/card.json": "benchmarks",
    "runs/broken/job.yaml": None,
    "runs/broken/members/abc-weights.safetensors": None,
    "runs/broken/attempts/9/environment.json": None,
    "runs/broken/attempts/9/checkpoints/000000010/state.json": None,
    "runs/broken/attempts/9/ray/train/x": "ray",
    "runs/broken/attempts/10/environment.json": None,
    "runs/broken/attempts/10/checkpoints/000000010/state.json": None,
    "runs/broken/attempts/10/ray/train/x": None,
    "runs/bench/attempts/1/environment.json": None,
    "runs/bench/attempts/1/scratch/many/part": "benchmarks",
    "index/models/segments/20200101T000000Z-0123456789abcdef.parquet": "index",
    "index/models/segments/29990101T000000Z-0123456789abcdef.parquet": None,
    "index/models/manifests/000000000000.json": "index",
    "index/models/folding/000000000001.json": None,
    "leaderboard/results/part.parquet": None,
    "reports/over/index.html": None,
    "store-check-0123456789ab/large": "store checks",
    "store-check-notes/mine": None,
    "notes.txt": None,
}


def test_everything_is_found_and_nothing_else(store: Store, ref: ModelRef) -> None:
    put(store, *THERE)
    age_all(store)
    before = set(store.list(""))
    found = find(store)
    expected = {key for key, kind in THERE.items() if kind}
    assert sorted(keys_of(found.leftovers)) == sorted(expected)
    kinds = {item.key: each.kind for each in found.leftovers for item in each.items}
    assert kinds == {key: kind for key, kind in THERE.items() if kind}
    assert found.young == 0
    assert {each.kind for each in found.leftovers} == {*KINDS} - {"writes"}
    for each in found.leftovers:
        assert each.bytes == 1000 * len(each.items)
        assert remove(store, each)
    assert set(store.list("")) - before <= set(store.list("index"))
    assert before - set(store.list("")) == expected
    assert find(store).leftovers == []
    load_model(ref)
    open_dataset(store, "user/gap")


def test_what_is_young_is_left(store: Store, ref: ModelRef) -> None:
    put(store, *THERE)
    age_all(store)
    for key, kind in THERE.items():
        if kind:
            age(store, key, 1)
    found = find(store)
    assert {each.kind for each in found.leftovers} == {"deleted models"}  # nobody needs that at any age
    assert found.young == 10  # two versions, a dataset, a check, the index and five parts of runs
    assert {kind for kind, _ in places(store, 0.5)} == {*KINDS} - {"writes"}
    assert {kind for kind, _ in places(store, 1.5)} == {"deleted models"}


def test_one_young_file_keeps_its_folder(store: Store) -> None:
    put(store, "models/source/1/weights.safetensors")
    put(store, "models/source/1/m0.skops", hours=1)
    assert places(store) == []
    assert places(store, 0.5) == [("unpublished models", "models/source/1")]


def test_what_a_run_that_goes_on_has_begun_is_left(store: Store) -> None:
    """It was cut off long ago while it published, and is at it again."""
    store.create_json("models/source/aliases/.versions/1.json", {"run": "pretrain-1", "nonce": "x"})
    put(store, "models/source/1/weights.safetensors", "runs/pretrain-1/attempts/1/environment.json")
    assert places(store) == [("unpublished models", "models/source/1")]
    put(store, "runs/pretrain-1/attempts/2/environment.json", hours=0)
    assert places(store) == []
    assert find(store).young == 1


@pytest.mark.parametrize("claim", [b"", b"[]", b'{"run": 3}', b'{"copy": "abc"}', b'{"run": "../../x"}'])
def test_claims_of_other_kinds(store: Store, claim: bytes) -> None:
    put(store, "models/source/1/weights.safetensors")
    store.create("models/source/aliases/.versions/1.json", claim)
    assert places(store) == [("unpublished models", "models/source/1")]


def test_what_changes_between_the_look_and_the_deletion_is_left(store: Store) -> None:
    put(store, "models/source/1/weights.safetensors", "models/source/2/weights.safetensors")
    put(store, "models/source/3/weights.safetensors")
    found = find(store).leftovers
    put(store, "models/source/1/card.json")  # published, with an old clock
    put(store, "models/source/2/m0.skops", hours=0)
    assert [remove(store, each) for each in found] == [False, False, True]
    assert store.list("models") == [
        "models/source/1/card.json",
        "models/source/1/weights.safetensors",
        "models/source/2/m0.skops",
        "models/source/2/weights.safetensors",
    ]


def test_of_the_index_a_manifest_goes_before_what_it_speaks_of(
    store: Store, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, manifest = (key for key, kind in THERE.items() if kind == "index")
    put(store, manifest, segment)
    put(store, segment.replace("2020", "2021"), hours=1)
    [found] = find(store).leftovers
    assert (found.kind, found.place) == ("index", "index/models")
    gone: list[str] = []
    delete = Store.delete

    def noted(self: Store, keys: Any) -> None:
        keys = list(keys)
        gone.extend(keys)
        delete(self, keys)

    monkeypatch.setattr(Store, "delete", noted)
    assert remove(store, found)
    assert gone == [manifest, segment]


def test_a_damaged_index_hides_nothing_else(store: Store, ref: ModelRef, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "xtlray")
    put(store, "models/source/1/weights.safetensors", "index/models/manifests/000000000009.json")
    assert places(store) == [("unpublished models", "models/source/1")]
    assert "index cannot be told" in caplog.text
    assert "0009.json" in caplog.text


def test_a_checkpoint_that_is_deleted_in_part_does_not_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "runs/over/attempts/1/checkpoints"
    put(store, "runs/over/outcome.json", *(f"{folder}/{n:09d}/{name}" for n in (1, 2) for name in ("a", "state.json")))
    [found] = find(store).leftovers
    gone: list[str] = []
    delete = Store.delete

    def noted(self: Store, keys: Any) -> None:
        keys = list(keys)
        gone.extend(keys)  # one after the other, or all at once
        delete(self, keys)

    monkeypatch.setattr(Store, "delete", noted)
    remove(store, found)
    assert sorted(gone[:2]) == [f"{folder}/{n:09d}/state.json" for n in (1, 2)]
    assert len(gone) == 4


def test_a_publish_that_goes_on_over_old_files_is_whole(store: Store, tmp_path: Path, ref: ModelRef) -> None:
    """Whatever a clean-up takes of a version that had been begun is put back before and after its card."""
    from xtlray.registry.exchange import pull

    folder = pull(ref, tmp_path / "pulled").folder
    create = Store.create
    cleaned: list[bool] = []

    def clean(self: Store, key: str, data: bytes, **how: Any) -> bool:
        if key == "models/user/mine/1/card.json":
            cleaned.extend(remove(self, each) for each in find(self, 0).leftovers)
        return create(self, key, data, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "create", clean)
        done = push(store, folder, "user/mine")
    assert cleaned == [True]
    load_model(done.ref)


def test_parts_of_files_that_were_being_written(store: Store) -> None:
    """In a folder, a file has another name until it is whole, which no listing shows."""
    put(store, "models/source/1/card.json", "models/source/2/card.json")
    assert store.local_path
    folder = store.local_path / "models" / "source" / "1"
    for name, hours in (("weights.safetensors#1", 48), ("weights.safetensors#2", 1), ("notes#", 48)):
        (folder / name).write_bytes(b"x" * 10)
        age(store, f"models/source/1/{name}", hours)
    (store.local_path / "mine#1").write_bytes(b"x")  # beside the store's own folders
    age(store, "mine#1", 48)
    found = find(store)
    assert [(each.kind, each.place, each.bytes) for each in found.leftovers] == [
        ("writes", "models/source/1/weights.safetensors#1", 10)
    ]
    assert found.young == 1
    assert remove(store, found.leftovers[0])
    assert remove(store, found.leftovers[0])  # by somebody else, just before
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "notes#", "weights.safetensors#2"]
    assert (store.local_path / "mine#1").exists()


def test_ages_are_told_by_the_clock_of_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "models/source/1/weights.safetensors", hours=2)

    class Tomorrow(datetime):
        """The clock here is wrong."""

        @classmethod
        def now(cls, zone: Any = None) -> Any:
            return datetime.now(zone) + timedelta(days=2)

    monkeypatch.setattr(leftovers, "datetime", Tomorrow)
    assert places(store) == []
    assert places(store, 1) == [("unpublished models", "models/source/1")]
    assert [key for key in store.list("") if not key.startswith("models/")] == []


def test_an_empty_store(store: Store) -> None:
    assert places(store, 0) == []
