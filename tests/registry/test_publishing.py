"""Publishing: who gets which number, what a killed publisher leaves, what is never given again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from tests import tiny
from tests.registry.library import found
from xtlray.errors import RequestError, StoreError
from xtlray.nn.members import ConstantMember
from xtlray.records import ModelCard
from xtlray.registry import compaction
from xtlray.registry.model import load_model
from xtlray.registry.publishing import publish, published
from xtlray.registry.removal import delete
from xtlray.registry.versions import ModelRef, resolve, store_of, versions_of
from xtlray.store import Store


def make(store: Store, data: Any, run: str = "run-00000001", name: str = "jarvis/klu", value: float = 1.0) -> ModelRef:
    return tiny.model(store, name, run, [ConstantMember(value)], data)


def test_names_of_the_package_are_refused(store: Store, data: Any) -> None:
    assert store_of(store, "builtin/x") is not store
    assert store_of(store, "other/x") is store
    with pytest.raises(RequestError, match="belong to the package"):
        make(store, data, name="builtin/x")
    with pytest.raises(RequestError, match="A model's name"):
        make(store, data, name="a/b/c")
    assert store.list("models") == []


def test_a_run_publishes_a_name_once(store: Store, data: Any) -> None:
    assert published(store, "run-00000001", "jarvis/klu") is None
    first = make(store, data, value=1.0)
    again = make(store, data, value=2.0)
    assert str(again) == str(first) == "jarvis/klu@1"
    assert published(store, "run-00000001", "jarvis/klu") == first
    assert first.card().members[0].value == 1.0  # what is published is not changed
    assert store.get_json("runs/run-00000001/published/jarvis/klu.json")["version"] == 1


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("writes", range(4))
def test_a_run_that_was_cut_off_fills_the_version_it_had_begun(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """The claim, the model's file, the decision, its card: the process ends after so many of these."""
    create, left = type(store).create, iter(range(writes))

    def dying(self: Store, key: str, content: bytes, **how: Any) -> bool:
        if next(left, None) is None:
            raise Killed
        return create(self, key, content, **how)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "create", dying)
        with pytest.raises(Killed):
            tiny.model(store, "jarvis/klu", "run-00000001", data=data)
    assert versions_of(store, "jarvis/klu") == []
    assert published(store, "run-00000001", "jarvis/klu") is None

    other = make(store, data, "run-00000002")  # another run comes between
    ref = tiny.model(store, "jarvis/klu", "run-00000001", data=data)
    assert published(store, "run-00000001", "jarvis/klu") == ref
    assert versions_of(store, "jarvis/klu") == sorted({ref.version, other.version})
    if writes >= 1:  # it had taken its number
        assert (ref.version, other.version) == (1, 2)


def test_a_number_taken_but_not_noted_is_used(store: Store, data: Any) -> None:
    store.create_json("models/jarvis/klu/aliases/.versions/1.json", {"run": "run-00000001"})
    assert make(store, data, "run-00000001").version == 1


def test_eight_runs_that_publish_at_once_get_eight_versions(store: Store, data: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda n: make(store, data, f"run-0000000{n}", value=float(n)), range(8)))
    assert sorted(ref.version for ref in refs) == versions_of(store, "jarvis/klu") == list(range(1, 9))
    for n, ref in enumerate(refs):
        assert (ref.card().run, ref.card().members[0].value) == (f"run-0000000{n}", float(n))


def test_two_drivers_of_one_run_publish_one_version(store: Store, data: Any) -> None:
    """Their weights may differ; what is published is whole, and of one of them."""
    seeds = [1, 1, 2, 3]
    with ThreadPoolExecutor(4) as pool:
        refs = list(
            pool.map(lambda seed: tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(seed)], data), seeds)
        )
    assert len({ref.version for ref in refs}) == 1
    assert versions_of(store, "jarvis/klu") == [refs[0].version]
    load_model(refs[0])  # refuses files that are not the card's


def test_a_driver_that_finds_the_files_of_another_leaves_them(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other driver of the run writes everything just before our first file, and decides just before we do."""
    create = type(store).create

    def late(self: Store, key: str, content: bytes, **how: Any) -> bool:
        if key.endswith("weights.safetensors"):
            monkeypatch.setattr(type(store), "create", create)
            assert str(tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(2)], data)) == "jarvis/klu@1"
        return create(self, key, content, **how)

    monkeypatch.setattr(type(store), "create", late)
    ours = tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(1)], data)
    assert (str(ours), versions_of(store, "jarvis/klu")) == ("jarvis/klu@1", [1])
    theirs = tiny.net_member(2).net.state_dict()
    net = load_model(ours).net.net
    assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items())


def test_no_card_stands_without_its_files(store: Store, data: Any) -> None:
    first = tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(1)], data)
    card = first.card()
    store.delete(store.list(first.folder))
    with pytest.raises(StoreError, match=r"was deleted.*klu/1/weights.*--again"):
        tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(2)], data)
    assert versions_of(store, "jarvis/klu") == []
    assert tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(1)], data).card() == card
    load_model(first)


def test_a_deleted_version_never_comes_back(store: Store, data: Any) -> None:
    make(store, data, "run-00000001")
    second = make(store, data, "run-00000002")
    store.delete(store.list(second.folder))
    assert versions_of(store, "jarvis/klu") == [1]
    assert resolve(store, "jarvis/klu").version == 1
    assert make(store, data, "run-00000003").version == 3


def test_what_is_there_without_a_card_does_not_count(store: Store, data: Any) -> None:
    ref = make(store, data)
    store.create("models/jarvis/klu/2/weights.safetensors", b"half")
    assert resolve(store, "jarvis/klu") == ref
    with pytest.raises(RequestError, match="no such version"):
        resolve(store, "jarvis/klu@2")


def test_the_hash_of_a_card_names_the_content(store: Store, data: Any) -> None:
    one, two = make(store, data, "run-00000001"), make(store, data, "run-00000002", value=2.0)
    assert one.card_hash() == make(store, data, "run-00000001").card_hash() != two.card_hash()
    store.delete([f"{one.folder}/card.json"])
    store.create(f"{one.folder}/card.json", b"{}")
    with pytest.raises(StoreError, match=r"card is not the one that was published.*jarvis/klu/1"):
        one.card()


def test_the_card_gets_version_and_hashes(store: Store, data: Any) -> None:
    seen: list[Any] = []
    card = make(store, data).card()

    def maker(version: int, files: dict[str, str]) -> ModelCard:
        seen.append((version, files))
        return card.model_copy(update={"version": version, "files": files, "name": "other"})

    publish(store, "run-00000009", "other", None, {"a.bin": b"abc"}, maker)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of abc, FIPS 180-2
    assert seen == [(1, {"a.bin": digest})]


def test_a_run_whose_model_was_deleted_publishes_it_as_another_version(store: Store, data: Any) -> None:
    for turn in (1, 2, 3):
        ref = make(store, data)
        assert str(ref) == str(make(store, data)) == f"jarvis/klu@{turn}"
        assert published(store, "run-00000001", "jarvis/klu") == ref
        delete(store, str(ref))
        assert published(store, "run-00000001", "jarvis/klu") is None
        assert store.list(ref.folder) == []
    assert versions_of(store, "jarvis/klu") == []


def test_a_number_whose_version_was_deleted_is_not_taken_up_again(store: Store, data: Any) -> None:
    store.create_json("models/jarvis/klu/aliases/.versions/1.json", {"run": "run-00000001"})
    store.create_json("models/jarvis/klu/aliases/.deleted/1.json", {"who": "ada", "when": "2026-01-01T00:00:00Z"})
    assert make(store, data, "run-00000001").version == 2


def test_files_that_are_cleared_away_while_the_card_is_written_are_put_back(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run had begun long ago may be taken for what nobody needs any more, just when it goes on."""
    create = Store.create

    def cleared(self: Store, key: str, content: bytes, **how: Any) -> bool:
        if key.endswith("/card.json"):
            self.delete(self.list("models/jarvis/klu/1"))
        return create(self, key, content, **how)

    monkeypatch.setattr(Store, "create", cleared)
    load_model(tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(1)], data))


def test_a_version_that_is_deleted_while_another_driver_is_slow_stays_deleted(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another driver of the run publishes what we had begun, and it is deleted, right before we write its card."""
    create = Store.create

    def slow(self: Store, key: str, content: bytes, **how: Any) -> bool:
        if key.endswith("klu/1/card.json"):
            monkeypatch.setattr(Store, "create", create)
            delete(store, str(make(store, data)))
        return create(self, key, content, **how)

    monkeypatch.setattr(Store, "create", slow)
    ref = make(store, data)
    assert (str(ref), versions_of(store, "jarvis/klu"), store.list(ref.folder)) == ("jarvis/klu@1", [], [])
    for _ in range(3):  # of marks, folded, and from then on
        assert found(store) == set()
        assert compaction.fold(store)


def test_a_version_that_is_deleted_while_a_driver_with_other_weights_is_slow_leaves_no_card(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot put back the files that the card names, as they were those of another driver."""
    create = Store.create

    def publish_as(seed: int) -> ModelRef:
        return tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(seed)], data)

    def killed(self: Store, key: str, content: bytes, **how: Any) -> bool:
        if key.endswith("klu/1/card.json"):
            raise Killed
        return create(self, key, content, **how)

    def slow(self: Store, key: str, content: bytes, **how: Any) -> bool:
        if key.endswith("klu/1/card.json"):
            monkeypatch.setattr(Store, "create", create)
            delete(store, str(publish_as(1)))
        return create(self, key, content, **how)

    monkeypatch.setattr(Store, "create", killed)
    with pytest.raises(Killed):
        publish_as(1)
    monkeypatch.setattr(Store, "create", slow)
    with pytest.raises(StoreError, match=r"was deleted.*klu/1/weights"):
        publish_as(2)
    assert (versions_of(store, "jarvis/klu"), store.list("models/jarvis/klu/1")) == ([], [])
    assert str(publish_as(2)) == "jarvis/klu@2"


@pytest.mark.parametrize("claim", [b"", b"[]", b'"run-00000001"', b"\xff"])
def test_a_damaged_claim_is_nobodys(store: Store, data: Any, claim: bytes) -> None:
    store.create("models/jarvis/klu/aliases/.versions/1.json", claim)
    assert make(store, data, "run-00000001").version == 2
