"""Versions: what is there, and what a name means."""

from __future__ import annotations

from typing import Any

import pytest

from tests import tiny
from xtlray.errors import RequestError, StoreError, UnknownNameError
from xtlray.nn.members import ConstantMember
from xtlray.registry.promotion import move_best
from xtlray.registry.removal import delete
from xtlray.registry.versions import (
    ModelRef,
    complete_versions,
    contents,
    latest,
    model_names,
    read_card,
    resolve,
    versions_of,
)
from xtlray.store import Store


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


def test_a_version_that_was_deleted_says_by_whom(store: Store, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    for n in (1, 2):
        make(store, data, f"run-0000000{n}")
    delete(store, "jarvis/klu@2")
    with pytest.raises(RequestError, match=r"no such version any more.*@2, deleted 20\S+Z by ada.*Allowed: 1.*klu@1"):
        resolve(store, "jarvis/klu@2")
    assert resolve(store, "jarvis/klu").version == 1
    delete(store, "jarvis/klu@1")
    with pytest.raises(UnknownNameError, match="no model of that name"):
        resolve(store, "jarvis/klu@2")
    assert latest(store, "jarvis/klu") is None


def test_a_number_is_looked_up_without_listing(store: Store, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = make(store, data)
    move_best(store, ref, 0.5, "s", "p")

    def listed(self: Store, prefix: str, after: str | None = None) -> list[str]:
        raise AssertionError(f"{prefix} is listed")

    monkeypatch.setattr(Store, "list", listed)
    assert resolve(store, "jarvis/klu@best") == resolve(store, "jarvis/klu") == ref
    monkeypatch.setattr(Store, "children", listed)
    assert resolve(store, "jarvis/klu@1") == ref


def test_one_listing_shows_versions_and_aliases(store: Store, data: Any) -> None:
    for name in ("klu", "jarvis/klu"):
        for n in (1, 2):
            move_best(store, make(store, data, f"run-{name.replace('/', '-')}-{n}", name), 1 / n, "s", "p")
    store.create("models/klu/3/weights.safetensors", b"half")
    delete(store, "klu@1")
    found = contents(store)
    assert found.versions == complete_versions(store) == [("jarvis/klu", 1), ("jarvis/klu", 2), ("klu", 2)]
    assert found.aliases == {"jarvis/klu": {"best": 2}, "klu": {"best": 2}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not the JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "damaged"),
        (b'{"schema_version": 99}', "newer xtlray"),
        (b'{"schema_version": 4, "name": NaN}', "not the JSON"),
    ],
)
def test_what_is_no_card(data: bytes, message: str) -> None:
    with pytest.raises(StoreError, match=message) as told:
        read_card(data, "a/place")
    assert "a/place" in str(told.value)


def test_a_name_that_is_not_known_costs_no_look_at_the_whole_library(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, data)
    listed = Store.list

    def not_all(self: Store, prefix: str, after: str | None = None) -> list[str]:
        assert self is not store or prefix.strip("/") not in ("", "models"), "all models are listed"
        return listed(self, prefix, after)

    monkeypatch.setattr(Store, "list", not_all)
    with pytest.raises(UnknownNameError, match=r"no model of that name.*jarvis/klu"):
        resolve(store, "jarvis/kul")
    with pytest.raises(AssertionError, match="all models are listed"):
        model_names(store)


def test_a_damaged_index_hides_no_name(store: Store, data: Any, caplog: pytest.LogCaptureFixture) -> None:
    make(store, data)
    for key in store.list("index"):
        store.delete([key])
        store.create(key, b"{")
    with pytest.raises(UnknownNameError, match=r"no model of that name.*jarvis/klu"):
        resolve(store, "jarvis/kul")
    assert "index of the library is damaged" in caplog.text


def test_of_many_versions_the_nearest_are_named(store: Store) -> None:
    for n in range(1, 31):
        store.create(f"models/klu/{n}/card.json", b"{}")
    store.delete(["models/klu/7/card.json"])
    with pytest.raises(RequestError, match=r"Allowed: 29 versions up to 30; nearest are 4, 5, 6, 8, 9"):
        resolve(store, "klu@7")
    with pytest.raises(RequestError, match="nearest are 26, 27, 28, 29, 30"):
        resolve(store, "klu@900")
