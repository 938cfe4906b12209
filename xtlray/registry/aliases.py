"""Aliases: which version of a model a word such as `best` or `production` means.

`models/<name>/aliases/<alias>/<n>.json` is a log of create-once entries: the highest holds, older ones are its history.
An entry is written under exactly the next number by whoever has read the one before, so that what it says of that one
is true: of two that move an alias at once, the later has seen the earlier.
"""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import AliasChoices, Field

from xtlray.records import Record
from xtlray.store import NONCE, Store, canonical_json
from xtlray.strict import read_json, without_control

_MOST_BYTES = 100_000  # of an entry
LATEST = "latest"  # computed, in no log


class AliasEntry(Record):
    """One move of an alias. Entries of the first schema have neither `who` nor `from` nor `protected`."""

    SCHEMA: ClassVar[int] = 2  # 2: who, from, protected
    schema_version: int = 2

    version: int = Field(ge=1, description="which it means from now on")
    before: int | None = Field(
        default=None,
        validation_alias=AliasChoices("from", "before"),
        serialization_alias="from",
        description="which it meant before; None for the first entry",
    )
    reason: str = ""
    who: str | None = Field(default=None, description="the name of the user")
    when: str = Field(default="", description="UTC, ISO 8601")
    protected: bool = Field(default=False, description="moved from here only where it is asked for by force")
    val_mae: float | None = Field(default=None, description="of `best`: the error by which it is the best")
    split_id: str | None = Field(default=None, description="of `best`: the rows that the error is of")
    protocol: str | None = Field(default=None, description="of `best`: how the error was made")

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types, without what only `best` has where it is not there."""
        value = self.model_dump(mode="json", by_alias=True)
        return {
            key: each
            for key, each in value.items()
            if each is not None or key not in ("val_mae", "split_id", "protocol")
        }


def aliases_of(store: Store, name: str) -> list[str]:
    """The aliases that a model has or had, `latest` not among them."""
    found = store.children(f"models/{name}/aliases")
    return [alias for alias in found if not alias.startswith(".")]


def newest_entry(store: Store, name: str, alias: str) -> tuple[int, AliasEntry] | None:
    """Number and content of the entry that holds; None where there is none. Raises `StoreError` where it is damaged."""
    numbers = store.numbers(log_of(name, alias))
    if not numbers:
        return None
    key = f"{log_of(name, alias)}/{numbers[-1]}.json"
    return numbers[-1], read_entry(key, store.get(key))


def entries_of(store: Store, name: str, alias: str) -> list[AliasEntry]:
    """The entries of an alias' log, oldest first. Raises `StoreError` where one is damaged."""
    keys = [f"{log_of(name, alias)}/{n}.json" for n in store.numbers(log_of(name, alias))]
    return read_entries(keys, store.get_all(keys))


def read_entries(keys: Sequence[str], found: Sequence[bytes | None]) -> list[AliasEntry]:
    """The entries under keys of one log, in its order; an old one is told which version the one before it meant."""
    entries: list[AliasEntry] = []
    for key, data in zip(keys, found, strict=True):
        entry = read_entry(key, data)
        if entry.before is None and entries:
            entry = entry.model_copy(update={"before": entries[-1].version})
        entries.append(entry)
    return entries


def read_entry(key: str, data: bytes | None) -> AliasEntry:
    """One entry. Raises `StoreError` where it is missing or damaged."""
    value = read_json(data or b"", key, _MOST_BYTES, "An entry of an alias")
    if isinstance(value, dict):
        value.pop(NONCE, None)
    return AliasEntry.read(value, key)


def alias_history(store: Store, name: str, alias: str) -> list[dict[str, Any]]:
    """The entries of an alias' log as plain data, oldest first: `version`, `from`, `reason`, `who`, `when`, …"""
    return [entry.as_json() for entry in entries_of(store, name, alias)]


def add_entry(store: Store, name: str, alias: str, after: int, entry: AliasEntry) -> bool:
    """Let `entry` follow the entry with the number `after` (0: none); False where another one does already."""
    data = canonical_json({**entry.as_json(), NONCE: uuid.uuid4().hex})  # so that none is taken for another's
    return store.create(f"{log_of(name, alias)}/{after + 1}.json", data, unique=True)


def log_of(name: str, alias: str) -> str:
    """The folder of an alias' log."""
    return f"models/{name}/aliases/{alias}"


def user() -> str:
    """Who moves an alias or deletes a model: the name of this process' user."""
    try:
        return str(without_control(getpass.getuser()))
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
