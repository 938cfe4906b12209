"""The listing of models and the history that a card is shown with: complete, quick, and stopped by nothing damaged."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from tests import tiny
from xtlray.errors import StoreError
from xtlray.nn.members import ConstantMember
from xtlray.registry import compaction, library
from xtlray.registry.library import describe, list_models
from xtlray.registry.promotion import promote
from xtlray.registry.versions import ModelRef, resolve
from xtlray.store import Store, canonical_json


@pytest.fixture
def refs(store: Store) -> list[ModelRef]:
    data = tiny.dataset(store)
    return [tiny.model(store, "jarvis/klu", f"run-{n:08d}", [ConstantMember(1.0)], data) for n in range(1, 6)]


def ours(store: Store) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in list_models(store) if not row["model"].startswith("builtin/")}


def test_each_version_with_the_aliases_that_mean_it_now(store: Store, refs: list[ModelRef]) -> None:
    for version, alias in ((1, "production"), (2, "staging"), (2, "candidate"), (3, "production")):
        promote(store, f"jarvis/klu@{version}", alias)
    rows = ours(store)
    assert {model: row["aliases"] for model, row in rows.items()} == {
        "jarvis/klu@1": [],
        "jarvis/klu@2": ["candidate", "staging"],
        "jarvis/klu@3": ["production"],
        "jarvis/klu@4": [],
        "jarvis/klu@5": [],
    }
    assert {(row["val_mae"], row["test_mae"], row["problem"]) for row in rows.values()} == {(0.5, 0.6, None)}


def test_what_is_damaged_hides_nothing_else(
    store: Store, refs: list[ModelRef], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "xtlray")
    promote(store, "jarvis/klu@2", "staging")
    store.create("models/jarvis/klu/aliases/production/1.json", b"{")
    store.delete([refs[0].card_key])
    store.create(refs[0].card_key, b"{")
    rows = ours(store)
    assert list(rows) == [str(ref) for ref in refs]
    assert "not the JSON" in rows["jarvis/klu@1"]["problem"]
    assert [row["aliases"] for row in rows.values()] == [[], ["staging"], [], [], []]
    assert "jarvis/klu@production is passed over" in caplog.text
    with pytest.raises(StoreError, match="models/jarvis/klu/aliases/production"):
        describe(refs[1])


def test_cards_are_fetched_many_at_a_time(store: Store, refs: list[ModelRef], monkeypatch: pytest.MonkeyPatch) -> None:
    for alias in ("one", "two", "three"):
        promote(store, "jarvis/klu@1", alias)
    get, listed = Store.get, Store.list
    alone: list[str] = []
    listings: list[str] = []

    def noted(self: Store, key: str) -> bytes:
        if self is store and threading.current_thread() is threading.main_thread():
            alone.append(key)
        return get(self, key)

    def noted_listing(self: Store, prefix: str, after: str | None = None) -> list[str]:
        if self is store:
            listings.append(prefix)
        return listed(self, prefix, after)

    monkeypatch.setattr(Store, "get", noted)
    monkeypatch.setattr(Store, "list", noted_listing)
    assert len(ours(store)) == 5
    assert not [key for key in alone if key.startswith("models/")]
    assert [prefix for prefix in listings if prefix.startswith("models")] == ["models"]


@pytest.mark.parametrize("folded", [False, True])
def test_what_the_index_tells_is_what_the_cards_say(
    store: Store, refs: list[ModelRef], monkeypatch: pytest.MonkeyPatch, folded: bool
) -> None:
    both = [tiny.dataset(store), tiny.dataset(store, "other/modulus", unit="GPa")]
    tiny.model(store, "both", data=both, source=refs[0].card())
    promote(store, "both@1", "production")
    if folded:
        assert compaction.fold(store)
    get_all, read = Store.get_all, []

    def noted(self: Store, keys: Any) -> Any:
        read.extend(key for key in keys if self is store and key.endswith("/card.json"))
        return get_all(self, keys)

    monkeypatch.setattr(Store, "get_all", noted)
    by_index = ours(store)
    assert len(read) == (0 if folded else 6)
    monkeypatch.setattr(library, "_told", lambda home: {})
    assert ours(store) == by_index
    assert len(by_index) == 6
    assert by_index["both@1"]["properties"] == ["user/gap", "other/modulus"]


def test_versions_that_the_index_does_not_know_are_listed(
    store: Store, refs: list[ModelRef], caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one that was put there by hand; and where the index is damaged, all of them."""
    compaction.fold(store)
    store.create("models/by-hand/1/card.json", canonical_json({**refs[0].card().as_json(), "name": "by-hand"}))
    store.delete([refs[1].card_key])
    expected = ["by-hand@1", *(str(ref) for ref in refs if ref != refs[1])]
    assert list(ours(store)) == expected
    caplog.set_level(logging.WARNING, "xtlray")
    store.create("index/models/manifests/000000000009.json", b"{")
    assert list(ours(store)) == expected
    assert "index of the library is damaged" in caplog.text


def test_a_version_that_is_deleted_meanwhile_is_left_out(
    store: Store, refs: list[ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    get_all = Store.get_all

    def late(self: Store, keys: Any) -> Any:
        store.delete([refs[2].card_key])
        return get_all(self, keys)

    monkeypatch.setattr(Store, "get_all", late)
    assert list(ours(store)) == [str(ref) for ref in refs if ref != refs[2]]


def test_a_card_comes_with_the_history_of_all_aliases(store: Store, refs: list[ModelRef]) -> None:
    promote(store, "jarvis/klu@1", "production", reason="the first")
    promote(store, "jarvis/klu@2", "production", protect=True)
    shown = describe(resolve(store, "jarvis/klu@5"))
    assert (shown["name"], shown["version"]) == ("jarvis/klu", 5)
    assert [(e["version"], e["from"], e["reason"], e["protected"]) for e in shown["aliases"]["production"]] == [
        (1, None, "the first", False),
        (2, 1, "", True),
    ]
