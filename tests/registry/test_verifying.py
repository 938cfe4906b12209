"""Verifying: one flipped byte is found wherever it lies, and one bad model hides no other."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests import tiny
from tests.logs import heard
from tests.registry.forging import forgery
from xtlray.cli.main import main
from xtlray.errors import StoreError, StoreGoneError
from xtlray.nn.members import ConstantMember
from xtlray.registry import verifying
from xtlray.registry.verifying import NOT_SEALED, all_models, verify, verify_all
from xtlray.registry.versions import ModelRef
from xtlray.store import Store

ONE = (ConstantMember(1.0),)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged."""
    with heard("xtlray.registry", logging.INFO) as found:
        yield found


def rewrite(store: Store, key: str, data: bytes) -> None:
    store.delete([key])
    store.create(key, data)


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


# --- one model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["card.json", "card.sha256", "weights.safetensors", "m1.skops", "source"])
def test_one_flipped_bit_is_found_wherever_it_lies(store: Store, file: str) -> None:
    ref = forgery().write(store)
    (key,) = [key for key in store.list(ref.folder) if file in key]
    good = store.get(key)
    for k, place in enumerate(range(0, len(good), max(1, len(good) // 70))):
        rewrite(store, key, flipped(good, place, k % 8))
        with pytest.raises(StoreError, match=r"not the one that was published|longer than it may be"):
            verify(ref)
    for other in (good[:-1], good + b"\n"):
        rewrite(store, key, other)
        with pytest.raises(StoreError, match="not the one that was published"):
            verify(ref)
    rewrite(store, key, good)
    assert verify(ref)["status"] == "ok"


def test_a_flipped_digit_of_a_metric_is_found_by_whoever_reads_the_card(store: Store) -> None:
    ref = forgery().write(store)
    key = f"{ref.folder}/card.json"
    card = store.get(key)
    place = card.index(b'"mae": 0.5') + len(b'"mae": 0.')
    rewrite(store, key, flipped(card, place, 0))
    assert json.loads(store.get(key))["metrics"]["val"]["mae"] == 0.4
    with pytest.raises(StoreError, match="card is not the one that was published"):
        ref.card()


def test_a_card_without_its_seal(store: Store) -> None:
    model = forgery()
    model.sealed = False
    with pytest.raises(StoreError, match=r"lost its seal.*user/gap/1/card.sha256"):
        verify(model.write(store))
    older = forgery()
    older.sealed, older.card["schema_version"] = False, 4
    ref = older.write(Store.open(f"{store.local_path}-older"))
    assert verify(ref)["problem"] == NOT_SEALED


# --- many ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refs(store: Store) -> list[ModelRef]:
    """Four models; the second one's weights are altered, and the third has no weights any more."""
    data = tiny.dataset(store)
    found = [tiny.model(store, "user/many", f"run-0000000{k}", data=data) for k in range(4)]
    rewrite(store, f"{found[1].folder}/weights.safetensors", b"other")
    store.delete([f"{found[2].folder}/weights.safetensors"])
    return found


def test_one_bad_model_hides_no_other(refs: list[ModelRef], log: list[str]) -> None:
    rows = verify_all(refs)
    assert [(row["model"], row["status"]) for row in rows] == [
        ("user/many@1", "ok"),
        ("user/many@2", "bad"),
        ("user/many@3", "bad"),
        ("user/many@4", "ok"),
    ]
    assert "not the one that was published" in rows[1]["problem"]
    assert "Nothing lies in the store" in rows[2]["problem"]
    assert sum("is bad" in line for line in log) == 2
    assert log[-1] == "verified 4 of 4 models, 2 bad"


def test_two_at_a_time_and_no_more(store: Store, refs: list[ModelRef], monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)
    running, most, lock = 0, 0, threading.Lock()

    def watched(ref: ModelRef) -> dict[str, Any]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(timeout=20)  # each waits for another: one at a time would not end well
        with lock:
            running -= 1
        return {"model": str(ref), "status": "ok", "problem": None}

    monkeypatch.setattr(verifying, "verify", watched)
    assert [row["status"] for row in verify_all(refs)] == ["ok"] * 4
    assert most == 2


def test_what_is_deleted_meanwhile_is_no_bad_model(store: Store, refs: list[ModelRef]) -> None:
    store.delete(store.list(refs[2].folder))
    assert [row["model"] for row in verify_all(refs)] == ["user/many@1", "user/many@2", "user/many@4"]


def test_a_store_that_is_gone_is_no_bad_model(refs: list[ModelRef], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(ref: ModelRef) -> Any:
        raise StoreGoneError("The store has been out of reach for 1 s")

    monkeypatch.setattr(verifying, "verify", gone)
    with pytest.raises(StoreGoneError):
        verify_all(refs)


def test_what_nobody_foresaw_is_a_bad_model_too(refs: list[ModelRef], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(ref: ModelRef) -> Any:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(verifying, "verify", broken)
    assert {row["problem"] for row in verify_all(refs)} == {"ZeroDivisionError: division by zero"}


def test_many_models_are_told_of_in_steps(store: Store, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "verify", lambda ref: {"model": str(ref), "status": "ok", "problem": None})
    rows = verify_all([ModelRef(store, "user/many", k) for k in range(1000)])
    assert len(rows) == 1000
    assert len(log) == 20
    assert log[0] == "verified 50 of 1000 models, 0 bad"


# --- the command -----------------------------------------------------------------------------------------------------


def test_all_by_command(refs: list[ModelRef], capsys: pytest.CaptureFixture[str]) -> None:
    store = str(refs[0].store.local_path)
    code = main(["models", "verify", "--all", "--json", "--store", store])
    said = capsys.readouterr()
    rows = {row["model"]: row["status"] for row in json.loads(said.out)}
    expected = {"user/many@1": "ok", "user/many@2": "bad", "user/many@3": "bad", "user/many@4": "ok"}
    assert code == 1
    assert rows == {**expected, "builtin/oqmd@1": "ok"}
    assert "2 of 5 models are bad" in said.err
    assert "verified 5 of 5 models, 2 bad" in said.err
    refs[0].store.delete([key for ref in refs[1:3] for key in ref.store.list(ref.folder)])
    assert main(["models", "verify", "--all", "--store", store]) == 0
    table = capsys.readouterr().out
    assert "user/many@1" in table
    assert "bad" not in table


@pytest.mark.parametrize("words", [[], ["user/gap", "--all"]])
def test_a_model_or_all(store: Store, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", *words, "--store", str(store.local_path)]) == 2
    assert "needs a model, or --all" in capsys.readouterr().err


def test_all_of_a_store_and_of_the_package(store: Store) -> None:
    tiny.model(store, "user/a", members=ONE)
    assert [str(ref) for ref in all_models(store)] == ["user/a@1", "builtin/oqmd@1"]
