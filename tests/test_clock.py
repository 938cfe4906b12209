"""The time by a store's clock: asked for without leaving anything, and ours where the store cannot say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from xtlray.clock import now_of
from xtlray.errors import StoreGoneError
from xtlray.store import Listed, Store, builtin


def test_it_is_what_the_store_stamps_its_files_with(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store.list("")
    assert abs(now_of(store) - datetime.now(UTC)) < timedelta(seconds=5)
    assert store.list("") == before
    ahead = datetime.now(UTC) + timedelta(hours=3)
    monkeypatch.setattr(store, "listing", lambda folder, after=None: [Listed(f"{folder}/clock", 3, ahead)])
    assert now_of(store) == ahead


def test_a_store_that_cannot_be_written_to_has_our_time() -> None:
    assert abs(now_of(builtin()) - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_store_that_is_gone_is_not_guessed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> bool:
        raise StoreGoneError("gone")

    monkeypatch.setattr(store, "create", gone)
    with pytest.raises(StoreGoneError):
        now_of(store)
