"""A corpus of hostile models, cards and names: each is refused for its own reason, at once, and nothing in it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import skops.io

from tests.registry import canary, hostile_cards, hostile_heads, hostile_weights
from tests.registry.forging import HEAD_FILE, Forgery, forgery
from xtlray.cli.main import main
from xtlray.errors import RequestError, StoreError
from xtlray.registry.model import load_model
from xtlray.registry.verifying import verify, verify_all
from xtlray.registry.versions import ModelRef, resolve
from xtlray.store import Store

MODELS = {**hostile_cards.CASES, **hostile_weights.CASES, **hostile_heads.CASES}
NAMES = {
    "above": ("../../etc/passwd", "A model's name has"),
    "a path": ("/etc/passwd", "A model's name has"),
    "a drive": ("C:\\models", "A model's name has"),
    "a zero byte": ("user/gap\0", "A model's name has"),
    "an escape": ("user/\x1b[2J", "A model's name has"),
    "a line break": ("user/gap\n", "A model's name has"),
    "nothing": ("", "A model's name has"),
    "a dot": ("user/..", "A model's name has"),
    "two slashes": ("user//gap", "A model's name has"),
    "three parts": ("user/gap/1", "A model's name has"),
    "the aliases": ("user/aliases", "A model's name has"),
    "a number": ("user/7", "A model's name has"),
    "a version above": ("user/gap@../1", "neither a version nor an alias"),
    "a version in other digits": ("user/gap@\uff11", "neither a version nor an alias"),
    "a version of 5,000 digits": ("user/gap@" + "1" * 5000, "neither a version nor an alias"),
    "an alias of ours": ("user/gap@.versions", "neither a version nor an alias"),
}
QUICK = 1.0  # seconds of the processor; most take some milliseconds


@pytest.fixture(autouse=True)
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test: nothing in a model's files has run."""
    monkeypatch.setattr(canary, "TOUCHED", [])
    monkeypatch.setenv(canary.FILE, str(tmp_path / "touched"))
    yield
    assert canary.TOUCHED == []
    assert not (tmp_path / "touched").exists()


def forged(store: Store, forge: Callable[[Forgery], Any]) -> ModelRef:
    model = forgery()
    forge(model)
    return model.write(store)


def test_there_are_many() -> None:
    assert len(MODELS) + len(NAMES) >= 120


@pytest.mark.parametrize("name", MODELS)
def test_a_hostile_model_is_refused_for_its_reason(
    store: Store, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason, forge = MODELS[name]
    ref = forged(store, forge)
    start = time.process_time()
    with pytest.raises(StoreError, match=f"(?s){reason}") as caught:
        load_model(ref)
    assert time.process_time() - start < QUICK
    assert len(str(caught.value)) < 1500
    assert str(caught.value).isprintable()
    with pytest.raises(StoreError, match=f"(?s){reason}"):
        verify(ref)
    monkeypatch.setenv("XTLRAY_STORE", str(store.local_path))
    assert main(["predict", "user/gap@1", "LiO"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert str(caught.value) in said.err.replace("\n", " ")
    for words in (["models", "show"], ["models", "history"], ["models", "environment"]):  # a card alone may be right
        assert main([*words, "user/gap@1"]) in (0, 1)
        said = capsys.readouterr()
        assert "internal error" not in said.err
        assert all(character.isprintable() or character == "\n" for character in said.out + said.err)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_refused_before_the_store_is_asked(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, reason = NAMES[name]

    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("the store was asked")

    for word in ("get", "get_all", "get_range", "size", "exists", "list", "children", "numbers"):
        monkeypatch.setattr(Store, word, asked)
    with pytest.raises(RequestError, match=reason) as caught:
        resolve(store, text)
    assert str(caught.value).isprintable()
    if "\0" not in text and text:  # a command line holds none
        for words in (["models", "show", text], ["models", "verify", text], ["predict", text, "LiO"]):
            assert main(words) == 2
            said = capsys.readouterr()
            assert "Traceback" not in said.err
            assert said.out == ""


def test_the_canary_would_be_touched(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What these files hold does run where somebody trusts it; so the other tests would see it."""
    model = forgery()
    hostile_heads.CASES["head: a call"][1](model)
    skops.io.loads(model.files[HEAD_FILE], trusted=["tests.registry.canary.Touch"])
    assert canary.TOUCHED
    assert Path(os.environ[canary.FILE]).exists()
    canary.TOUCHED.clear()
    Path(os.environ[canary.FILE]).unlink()


def test_all_of_them_at_once_hide_no_good_one(store: Store) -> None:
    """Two bad ones and a good one under another name."""
    bad = [forged(Store.open(f"{store.local_path}-{k}"), forge) for k, forge in enumerate(_some())]
    good = forgery().write(store)
    rows = verify_all([bad[0], good, *bad[1:]])
    assert [row["status"] for row in rows] == ["bad", "ok", *["bad"] * (len(bad) - 1)]
    assert all(row["problem"] for row in rows if row["status"] == "bad")


def _some() -> Iterator[Callable[[Forgery], Any]]:
    return (MODELS[name][1] for name in ("card: half a card", "weights: cut short", "head: a partial"))
