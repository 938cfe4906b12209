"""Folders that strangers hand over to be pushed: each refused for its reason, nothing of it in the store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.registry.forging import rewrite
from xtlray.errors import RequestError
from xtlray.registry.exchange import push
from xtlray.store import Store


def _link(folder: Path) -> None:
    (folder / "weights.safetensors").rename(folder.parent / "elsewhere")
    (folder / "weights.safetensors").symlink_to(folder.parent / "elsewhere")


def _link_card(folder: Path) -> None:
    (folder / "card.json").rename(folder.parent / "elsewhere")
    (folder / "card.json").symlink_to(folder.parent / "elsewhere")


def _flip(folder: Path) -> None:
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "weights.safetensors").write_bytes(bytes(data))


def _climb(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_bytes())
    (folder.parent / "up").write_bytes((folder / "weights.safetensors").read_bytes())
    rewrite(folder, files={**card["files"], "../up": card["files"]["weights.safetensors"]})


def _other_weights(folder: Path) -> None:
    """A file that fits its hash, but not its card."""
    import hashlib

    from xtlray.nn.tensors import pack_tensors

    data = pack_tensors({"m0.other": tiny.torch.zeros(3)})
    (folder / "weights.safetensors").write_bytes(data)
    rewrite(folder, files={"weights.safetensors": hashlib.sha256(data).hexdigest()}, sizes={})


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a file too many": (lambda f: (f / "run.sh").write_text("x"), "'run.sh' is not named in its card"),
    "a hidden file": (lambda f: (f / ".x").write_text("x"), r"'\.x' is not named"),
    "a folder": (lambda f: (f / "more").mkdir(), "'more' is no plain file"),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "'pipe' is no plain file"),
    "a link": (_link, "'weights.safetensors' is no plain file"),
    "a link for a card": (_link_card, r"'card\.json' is no plain file"),
    "a link that leads nowhere": (lambda f: (f / "x").symlink_to("nowhere"), "'x' is no plain file"),
    "a name that steers the terminal": (lambda f: (f / "\x1b[2J").write_text("x"), r"'\\x1b\[2J' is not named"),
    "a name in no encoding": (lambda f: open(os.fsencode(f) + b"/\xff", "wb").close(), r"'\\udcff' is not named"),
    "no card": (lambda f: (f / "card.json").unlink(), r"it has no card\.json"),
    "no file": (lambda f: (f / "weights.safetensors").unlink(), "'weights.safetensors' is missing"),
    "one bit": (_flip, "SHA-256"),
    "cut short": (lambda f: os.truncate(f / "weights.safetensors", 50), "weights"),
    "empty": (lambda f: os.truncate(f / "weights.safetensors", 0), "weights"),
    "a card of no JSON": (lambda f: (f / "card.json").write_text("{"), "not the JSON"),
    "an empty card": (lambda f: (f / "card.json").write_text(""), "not the JSON"),
    "a card of the future": (lambda f: rewrite(f, schema_version=99), "newer xtlray"),
    "a card with a strange key": (lambda f: rewrite(f, surprise=1), "surprise"),
    "a name that climbs": (lambda f: rewrite(f, name="../../up"), "A model's name"),
    "a name that is none": (lambda f: rewrite(f, name=3), "name"),
    "a version that is none": (lambda f: rewrite(f, version=0), "version"),
    "a negative version": (lambda f: rewrite(f, version=-3), "version"),
    "a file that climbs": (_climb, "A card|card names|file"),
    "files that are no list": (lambda f: rewrite(f, files=[]), "files"),
    "weights of another net": (_other_weights, "tensors"),
    "a net that is none": (lambda f: rewrite(f, members=[{"kind": "net"}]), "tensors of no member"),
    "a number that is none": (lambda f: rewrite(f, history=[{"loss": float("nan")}]), "not the JSON"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_refused(folder: Path, other: Store, what: str) -> None:
    change, message = HOSTILE[what]
    change(folder)
    with pytest.raises(RequestError, match=f"holds no model that can be pushed.*(?:{message})") as told:
        push(other, folder, "user/mine")
    assert str(told.value).isprintable()
    assert other.list("") == []
