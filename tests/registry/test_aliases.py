"""The logs of aliases: what is written, what is read, old and damaged entries."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from xtlray.errors import StoreError
from xtlray.registry.aliases import AliasEntry, add_entry, alias_history, aliases_of, entries_of, newest_entry, user
from xtlray.registry.versions import resolve
from xtlray.store import Store

# Three entries as the first schema had them.
OLD = [
    {"version": 1, "val_mae": 0.5, "split_id": "s", "protocol": "p", "reason": "first", "when": "2026-01-01T00:00:00Z"},
    {"version": 4, "val_mae": 0.4, "split_id": "s", "protocol": "p", "reason": "below", "when": "2026-01-02T00:00:00Z"},
    {"version": 5, "val_mae": 0.3, "split_id": "s", "protocol": "p", "reason": "below", "when": "2026-01-03T00:00:00Z"},
]


def test_old_entries_are_read_and_told_what_they_followed(store: Store) -> None:
    for n, entry in enumerate(OLD, start=1):
        store.create_json(f"models/jarvis/klu/aliases/best/{n}.json", entry)
    history = alias_history(store, "jarvis/klu", "best")
    assert [(entry["version"], entry["from"]) for entry in history] == [(1, None), (4, 1), (5, 4)]
    assert [entry["when"][:10] for entry in history] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert {(entry["who"], entry["protected"]) for entry in history} == {(None, False)}
    number, newest = newest_entry(store, "jarvis/klu", "best") or (0, None)
    assert newest is not None
    assert (number, newest.version, newest.val_mae, newest.split_id) == (3, 5, 0.3, "s")


def test_an_entry_follows_exactly_one(store: Store) -> None:
    assert newest_entry(store, "klu", "production") is None
    assert add_entry(store, "klu", "production", 0, AliasEntry(version=1, who="ada"))
    assert not add_entry(store, "klu", "production", 0, AliasEntry(version=2, who="eve"))
    assert add_entry(store, "klu", "production", 1, AliasEntry(version=3, who="eve", before=1, protected=True))
    assert [entry.version for entry in entries_of(store, "klu", "production")] == [1, 3]
    assert {**store.get_json("models/klu/aliases/production/2.json"), "nonce": ""} == {
        "nonce": "",
        "schema_version": 2,
        "version": 3,
        "from": 1,
        "reason": "",
        "who": "eve",
        "when": "",
        "protected": True,
    }


def test_the_tenth_follows_the_ninth(store: Store) -> None:
    for n in range(12):
        assert add_entry(store, "klu", "production", n, AliasEntry(version=n + 1))
    assert [entry.version for entry in entries_of(store, "klu", "production")] == list(range(1, 13))
    assert (newest_entry(store, "klu", "production") or (0, None))[0] == 12


def test_folders_that_begin_with_a_dot_are_no_aliases(store: Store) -> None:
    for folder in (".versions", ".deleted", ".copies", "best", "production"):
        store.create_json(f"models/klu/aliases/{folder}/1.json", {"version": 1})
    assert aliases_of(store, "klu") == ["best", "production"]


@pytest.mark.parametrize(
    "entry",
    [b"", b"{", b"[]", b"null", b"{}", b'{"version": 0}', b'{"version": "x"}', b'{"version": 1, "other": 1}',
     b'{"version": 1, "schema_version": 9}', b'{"version": 1e999}', b'{"version": [[[1]]]}'],
)  # fmt: skip
def test_a_damaged_entry_is_named(store: Store, entry: bytes) -> None:
    store.create("models/klu/1/card.json", b"{}")
    store.create("models/klu/aliases/production/1.json", entry)
    asked: list[Any] = [
        lambda: newest_entry(store, "klu", "production"),
        lambda: alias_history(store, "klu", "production"),
        lambda: resolve(store, "klu@production"),
    ]
    for ask in asked:
        with pytest.raises(StoreError, match=r"models/klu/aliases/production/1\.json"):
            ask()


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "a\x1b[31mda")
    assert user() == "a [31mda"

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert user().startswith("user ")
