"""Versions and aliases: what a name means, who gets which number, when `best` moves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from tests import tiny
from xtlray.errors import RequestError, StoreError, UnknownNameError
from xtlray.nn.members import ConstantMember
from xtlray.records import ModelCard
from xtlray.registry.model import load_model
from xtlray.registry.versions import (
    ModelRef,
    alias_history,
    complete_versions,
    model_names,
    move_best,
    publish,
    published,
    resolve,
    store_of,
    versions_of,
)
from xtlray.store import Store

ONE = (ConstantMember(1.0),)


@pytest.fixture
def data(store: Store) -> Any:
    return tiny.dataset(store)


def make(store: Store, data: Any, run: str = "run-00000001", name: str = "jarvis/klu", value: float = 1.0) -> ModelRef:
    return tiny.model(store, name, run, [ConstantMember(value)], data)


# --- what a name means -----------------------------------------------------------------------------------------------


def test_what_a_name_means(store: Store, data: Any) -> None:
    refs = [make(store, data, f"run-0000000{n}") for n in (1, 2, 3)]
    assert [ref.version for ref in refs] == [1, 2, 3]
    move_best(store, refs[1], 0.5, "s", "p")
    said: list[str] = []
    expected = {"jarvis/klu": 3, "jarvis/klu@latest": 3, "jarvis/klu@2": 2, "jarvis/klu@best": 2, "jarvis/klu@1": 1}
    assert {text: resolve(store, text, said.append).version for text in expected} == expected
    assert said == [  # open references are announced, a number is not
        "jarvis/klu is jarvis/klu@3",
        "jarvis/klu@latest is jarvis/klu@3",
        "jarvis/klu@best is jarvis/klu@2",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jarvis/kul", "no model of that name.*jarvis/klu"),
        ("klu", "jarvis/klu"),
        ("jarvis/klu@7", "no such version.*@7.*Allowed: 1"),
        ("jarvis/klu@bst", "no alias of jarvis/klu of that name.*best"),
        ("jarvis/klu@0", "neither a version nor an alias"),
        ("jarvis/klu@", "neither a version nor an alias"),
        ("Jarvis/klu", "A model's name"),
        ("../secret", "A model's name"),
        ("builtin/nothing", "no model of that name"),
    ],
)
def test_what_means_nothing(store: Store, data: Any, text: str, message: str) -> None:
    move_best(store, make(store, data), 0.5, "s", "p")
    with pytest.raises(RequestError, match=message):
        resolve(store, text)


def test_an_empty_library(store: Store) -> None:
    """But for what the package brings."""
    with pytest.raises(UnknownNameError, match=r"no model of that name.*xtlray models list"):
        resolve(store, "oqmd-elemnet")
    assert model_names(store) == ["builtin/oqmd"]
    assert complete_versions(store) == versions_of(store, "oqmd-elemnet") == []


def test_names_of_one_part_and_of_two(store: Store, data: Any) -> None:
    for name in ("klu", "jarvis/klu", "jarvis"):
        make(store, data, name=name)
    assert model_names(store) == ["builtin/oqmd", "jarvis", "jarvis/klu", "klu"]
    assert complete_versions(store) == [("jarvis", 1), ("jarvis/klu", 1), ("klu", 1)]
    assert versions_of(store, "jarvis") == [1]


def test_an_alias_of_a_version_that_was_deleted(store: Store, data: Any) -> None:
    refs = [make(store, data, f"run-0000000{n}") for n in (1, 2)]
    move_best(store, refs[0], 0.5, "s", "p")
    store.delete([f"{refs[0].folder}/card.json"])
    with pytest.raises(RequestError, match=r"not there any more.*@1.*Allowed: 2.*klu@2"):
        resolve(store, "jarvis/klu@best")


# --- publishing ------------------------------------------------------------------------------------------------------


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

    def dying(self: Store, key: str, content: bytes) -> bool:
        if next(left, None) is None:
            raise Killed
        return create(self, key, content)

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

    def late(self: Store, key: str, content: bytes) -> bool:
        if key.endswith("weights.safetensors"):
            monkeypatch.setattr(type(store), "create", create)
            assert str(tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(2)], data)) == "jarvis/klu@1"
        return create(self, key, content)

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
    with pytest.raises(StoreError, match=r"ModelCard in the store is damaged.*jarvis/klu/1"):
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


# --- best ------------------------------------------------------------------------------------------------------------


def history(store: Store) -> list[tuple[int, str]]:
    return [(entry["version"], entry["reason"]) for entry in alias_history(store, "jarvis/klu", "best")]


def ref(store: Store, version: int) -> ModelRef:
    return ModelRef(store, "jarvis/klu", version)


def test_best_moves_to_a_lower_validation_error_only(store: Store) -> None:
    assert alias_history(store, "jarvis/klu", "best") == []
    moved = [
        move_best(store, ref(store, n), mae, "s", "p") for n, mae in enumerate((0.5, 0.5, 0.6, 0.4, 0.45), start=1)
    ]
    assert moved == [True, False, False, True, False]
    assert history(store) == [(1, "first"), (4, "validation MAE 0.4 is below 0.5 of version 1")]


@pytest.mark.parametrize(("split", "protocol"), [("other", "p"), ("s", "other")])
def test_best_moves_where_errors_cannot_be_compared_and_the_log_says_so(
    store: Store, split: str, protocol: str
) -> None:
    move_best(store, ref(store, 1), 0.5, "s", "p")
    assert move_best(store, ref(store, 2), 9.0, split, protocol)
    assert history(store)[-1] == (2, "another split or protocol: errors cannot be compared with the version before")
    assert not move_best(store, ref(store, 3), 9.5, split, protocol)


def test_a_run_that_is_resumed_does_not_bring_back_what_was_followed(store: Store) -> None:
    assert move_best(store, ref(store, 1), 0.5, "s", "p")
    assert not move_best(store, ref(store, 1), 0.5, "s", "p")
    assert move_best(store, ref(store, 2), 0.9, "other", "p")
    assert not move_best(store, ref(store, 1), 0.5, "s", "p")
    assert [version for version, _ in history(store)] == [1, 2]


def test_of_racers_the_lowest_error_is_best(store: Store) -> None:
    errors = [0.5, 0.3, 0.9, 0.1, 0.7, 0.2, 0.8, 0.4]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: move_best(store, ref(store, n + 1), errors[n], "s", "p"), range(8)))
    entries = alias_history(store, "jarvis/klu", "best")
    assert entries[-1]["version"] == 4
    assert [entry["val_mae"] for entry in entries] == sorted((e["val_mae"] for e in entries), reverse=True)
