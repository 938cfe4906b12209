"""Deleting: what depended on it is said, nothing partial is seen, no number comes back, and it can be finished."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import tiny
from xtlray.errors import RequestError
from xtlray.nn.members import ConstantMember
from xtlray.registry import removal
from xtlray.registry.exchange import copy
from xtlray.registry.leftovers import find, remove
from xtlray.registry.model import load_model
from xtlray.registry.promotion import move_best, promote
from xtlray.registry.removal import delete, dependents
from xtlray.registry.versions import ModelRef, deletion, resolve, versions_of
from xtlray.store import Store


def make(store: Store, data: Any, run: int = 1, name: str = "jarvis/klu", **more: Any) -> ModelRef:
    return tiny.model(store, name, f"run-{run:08d}", [tiny.net_member(run)], data, **more)


def left(store: Store, ref: ModelRef) -> list[str]:
    return [key for key in store.list("models") if key.startswith(f"{ref.folder}/")]


def test_a_deleted_version_is_gone_for_good(store: Store, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    one, two = make(store, data, 1), make(store, data, 2)
    done = delete(store, "jarvis/klu@2")
    assert (done.ref, done.files, done.finished) == (two, 2, False)  # weights and seal
    assert left(store, two) == []
    assert versions_of(store, "jarvis/klu") == [1]
    assert (deletion(two) or {})["who"] == "ada"
    with pytest.raises(RequestError, match=r"no such version any more.*@2, deleted .* by ada"):
        delete(store, "jarvis/klu@2")
    assert make(store, data, 3).version == 3
    load_model(one)


def test_what_depends_on_it_is_said(store: Store, data: Any) -> None:
    source = make(store, data, 1, "source")
    child = make(store, data, 2, "jarvis/klu", source=source.card(), result="klu-tl.json")
    make(store, data, 3, "user/grandchild", source=child.card())
    make(store, data, 4, "user/stranger")
    copy(source, store, "user/copy")
    move_best(store, source, 0.5, "s", "p")
    promote(store, "source@1", "production", protect=True)
    found = dependents(source)
    assert found.aliases == ["best", "production", "latest"]
    assert found.protected == ["production"]
    assert found.models == ["jarvis/klu@1", "user/grandchild@1"]
    assert found.results == []
    found = dependents(child)
    assert (found.aliases, found.models) == (["latest"], ["user/grandchild@1"])
    assert found.results == ["runs/run-00000002/results/transfer/klu-tl.json"]


def test_a_name_that_begins_like_another_is_another(store: Store, data: Any) -> None:
    sources = [make(store, data, n, "source") for n in range(1, 12)]
    make(store, data, 20, "user/of_eleven", source=sources[10].card())
    make(store, data, 21, "user/of_both", source=sources[0].card())
    assert dependents(sources[0]).models == ["user/of_both@1"]
    assert dependents(sources[10]).models == ["user/of_eleven@1"]


def test_what_an_alias_means_needs_force(store: Store, data: Any) -> None:
    ref, other = make(store, data, 1), make(store, data, 2)
    promote(store, "jarvis/klu@1", "production", protect=True)
    for model in ("jarvis/klu@1", "jarvis/klu@production"):
        with pytest.raises(RequestError, match=r"An alias means jarvis/klu@1.*production \(protected\).*--force"):
            delete(store, model)
    load_model(ref)
    assert delete(store, "jarvis/klu@production", force=True).on.aliases == ["production"]
    with pytest.raises(RequestError, match=r"klu@production means a version that is not there any more.*@1"):
        resolve(store, "jarvis/klu@production")
    assert delete(store, "jarvis/klu@2").on.aliases == ["latest"]  # that one moves on by itself
    assert left(store, other) == []


def test_an_alias_that_has_moved_on_is_in_nobodys_way(store: Store, data: Any) -> None:
    for n in (1, 2):
        make(store, data, n)
        promote(store, f"jarvis/klu@{n}", "production")
    assert delete(store, "jarvis/klu@1").on.aliases == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("jarvis/klu", "Which version is meant.*jarvis/klu@3"),
        ("jarvis/klu@7", "no such version.*Allowed: 1"),
        ("jarvis/klu@old", "no alias"),
        ("jarvis/kul@1", "no model of that name.*jarvis/klu"),
        ("builtin/oqmd@1", "models of the package"),
        ("../../etc@1", "A model's name"),
    ],
)
def test_what_cannot_be_deleted(store: Store, data: Any, model: str, message: str) -> None:
    make(store, data)
    before = store.list("")
    with pytest.raises(RequestError, match=message):
        delete(store, model, force=True)
    assert store.list("") == before


def test_a_model_whose_card_is_damaged_can_be_deleted(
    store: Store, data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "xtlray")
    ref = make(store, data)
    store.delete([ref.card_key])
    store.create(ref.card_key, b"{")
    delete(store, "jarvis/klu@1")
    assert left(store, ref) == []
    assert "cannot be told" in caplog.text


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("deletions", range(3))
@pytest.mark.parametrize("by", ["again", "gc"])
def test_a_deletion_that_is_cut_off_shows_no_part_and_is_finished(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch, deletions: int, by: str
) -> None:
    """The card, the weights, the seal: the process ends after so many of these are deleted."""
    ref, kept = make(store, data, 1), make(store, data, 2)
    remaining, gone = iter(range(deletions)), Store.delete

    def dying(self: Store, keys: Any) -> None:
        for key in keys:
            if next(remaining, None) is None:
                raise Killed
            gone(self, [key])

    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", dying)
        with pytest.raises(Killed):
            delete(store, "jarvis/klu@1")
    assert len(left(store, ref)) == 3 - deletions
    if deletions:
        assert versions_of(store, "jarvis/klu") == [2]
    else:
        load_model(ref)
    if by == "again":
        assert delete(store, "jarvis/klu@1").finished
    else:
        [found] = find(store).leftovers  # however young it is
        assert (found.kind, found.place, len(found.items)) == ("deleted models", ref.folder, 3 - deletions)
        assert remove(store, found)
    assert left(store, ref) == []
    load_model(kept)


def test_two_that_delete_at_once(store: Store, data: Any) -> None:
    refs = [make(store, data, n) for n in range(1, 5)]
    asked = [f"jarvis/klu@{n}" for n in (1, 2, 3) for _ in range(2)]

    def go(model: str) -> bool:
        try:
            return delete(store, model).ref in refs
        except RequestError:  # the other one was faster
            return False

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(go, asked))
    assert all(any(done[k : k + 2]) for k in (0, 2, 4))
    assert versions_of(store, "jarvis/klu") == [4]
    assert [left(store, ref) for ref in refs[:3]] == [[], [], []]


def test_an_alias_that_comes_while_it_is_deleted_is_said(
    store: Store, data: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make(store, data)
    gone = removal.remove

    def overtaken(ref: ModelRef) -> int:
        promote(store, "jarvis/klu@1", "production")
        return gone(ref)

    monkeypatch.setattr(removal, "remove", overtaken)
    delete(store, "jarvis/klu@1")
    assert "jarvis/klu@production was moved to jarvis/klu@1 while that was deleted" in caplog.text


def test_a_constant_model_without_files(store: Store, data: Any) -> None:
    ref = tiny.model(store, "jarvis/klu", "run-00000001", [ConstantMember(1.0)], data)
    delete(store, "jarvis/klu@1")
    assert left(store, ref) == []
