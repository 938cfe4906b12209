"""The seal: what it holds, when it is written, and that no more is read than may be there."""

from __future__ import annotations

import hashlib
import subprocess
from typing import Any

import pytest

from tests import tiny
from xtlray.errors import MissingKeyError, StoreError
from xtlray.nn.members import ConstantMember
from xtlray.registry import seal as module
from xtlray.registry.seal import read_bounded, read_card_bytes
from xtlray.registry.versions import ModelRef
from xtlray.store import Store


@pytest.fixture
def ref(store: Store) -> ModelRef:
    return tiny.model(store, members=[ConstantMember(1.0)])


def test_it_is_what_sha256sum_checks(store: Store, ref: ModelRef) -> None:
    folder = store.local_path
    assert folder is not None
    done = subprocess.run(["sha256sum", "-c", "card.sha256"], cwd=folder / ref.folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "card.json: OK\n")
    assert store.get(f"{ref.folder}/card.sha256").split()[0].decode() == ref.card_hash()


def test_it_is_written_before_the_card(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    create = type(store).create

    def noting(self: Store, key: str, data: bytes, **more: Any) -> bool:
        done = create(self, key, data, **more)
        written.extend([key] * done)
        return done

    monkeypatch.setattr(type(store), "create", noting)
    ref = tiny.model(store, members=[ConstantMember(1.0)])
    of_the_version = [key.rsplit("/", 1)[1] for key in written if key.startswith(f"{ref.folder}/")]
    assert of_the_version == ["card.sha256", "card.json"]


def test_a_card_that_comes_while_it_is_read_is_sealed(
    store: Store, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for the seal a moment before it is written, and for the card a moment after, asks again."""
    real, asked = module._seal, []

    def late(store: Store, key: str) -> bytes | None:
        asked.append(key)
        return None if len(asked) == 1 else real(store, key)

    monkeypatch.setattr(module, "_seal", late)
    data, sealed = read_card_bytes(store, ref.folder)
    assert sealed
    assert hashlib.sha256(data).hexdigest() == ref.card_hash()
    assert len(asked) == 2


def test_no_more_is_read_than_may_be_there(store: Store) -> None:
    store.create("a", b"12345")
    store.create("nothing", b"")
    assert read_bounded(store, "a", 5) == b"12345"
    assert read_bounded(store, "nothing", 5) == b""
    with pytest.raises(StoreError, match=r"longer than it may be.*a.*Allowed: 4 bytes"):
        read_bounded(store, "a", 4)
    with pytest.raises(MissingKeyError):
        read_bounded(store, "b", 4)
