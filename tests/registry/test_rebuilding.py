"""The index made anew from the cards: of libraries that had none, beside damaged cards, and what is left over."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests import tiny
from tests.registry.interleaving import Memory
from tests.registry.library import card, found, put, remove
from xtlray.errors import RequestError, StoreError, StoreGoneError
from xtlray.registry import compaction, index, manifests, rebuilding
from xtlray.registry.reading import all_rows
from xtlray.registry.removal import delete
from xtlray.store import Store


def put_old(store: Store, name: str, version: int) -> None:
    """A card that was published before there was an index."""
    store.create_json(index.card_key((name, version)), card(name, version))


def test_a_library_from_before_the_index_gets_one_by_the_first_search(store: Store) -> None:
    put_old(store, "old", 1)
    put_old(store, "jarvis/old", 2)
    said: list[str] = []
    assert len(all_rows(store, said.append)) == 2 + 4  # of the package's model
    assert said == ["this library has no index yet: all cards are read, once"]
    assert rebuilding.state(store)["complete"]
    put(store, "new", 1)
    said.clear()
    assert len(all_rows(store, said.append)) == 3 + 4
    assert said == []


def test_publishing_into_a_library_from_before_the_index_hides_none(store: Store) -> None:
    put_old(store, "old", 1)
    put(store, "new", 1)
    assert not rebuilding.state(store)["complete"]
    compaction.fold(store)
    assert not rebuilding.state(store)["complete"]
    assert found(store) == {("old", 1), ("new", 1)}
    assert rebuilding.state(store)["complete"]
    assert found(store) == {("old", 1), ("new", 1)}


def test_only_the_first_publication_looks_for_older_cards() -> None:
    store = Memory()
    for n in range(3):
        put(store, f"m{n}", 1)
    assert [key for verb, key in store.calls if (verb, key) == ("list", "models")] == ["models"]


def refuse(*given: object, **named: object) -> bool:
    raise StoreError("The store could not write a key", got="403")


@pytest.mark.parametrize("begun", [False, True])
def test_whoever_may_not_write_can_search_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, begun: bool
) -> None:
    put_old(store, "old", 1)
    if begun:
        put(store, "new", 1)
    monkeypatch.setattr(Store, "create", refuse)
    before = store.list("")
    rows = all_rows(store).to_pylist()
    assert {row["name"] for row in rows} == {"old", "builtin/oqmd"} | ({"new"} if begun else set())
    assert "the index could not be written" in caplog.text
    assert store.list("") == before


def test_a_store_that_has_gone_is_no_store_without_an_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put_old(store, "old", 1)

    def gone(*given: object, **named: object) -> bool:
        raise StoreGoneError("The store has been out of reach for 120 s")

    monkeypatch.setattr(Store, "create", gone)
    with pytest.raises(StoreGoneError):
        all_rows(store)


def test_cards_that_cannot_be_read_are_named_and_hide_no_other(store: Store) -> None:
    put(store, "good", 1)
    store.create(index.card_key(("bad", 7)), b'{"name": "bad"}')
    store.create("models/not/a/model/1/card.json", b"{}")
    store.create("models/good/01/card.json", b"{}")
    store.create("models/good/2/weights.safetensors", b"half")
    cards = rebuilding.rebuild(store)
    assert cards.versions == 2
    assert list(cards.damaged) == ["bad@7"]
    assert "ModelCard" in cards.damaged["bad@7"]
    assert found(store) == {("good", 1)}


def test_progress_is_said_where_it_takes_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "_SAID_EVERY", 0)
    monkeypatch.setattr(rebuilding, "_BATCH", 2)
    for n in range(5):
        put_old(store, f"m{n}", 1)
    said: list[str] = []
    assert rebuilding.rebuild(store, said.append).versions == 5
    assert said[-1] == "4 of 5 cards read"


def test_a_rebuild_forgets_what_was_wrong(store: Store) -> None:
    """Rows of models whose cards somebody has deleted or added by hand."""
    put(store, "kept", 1)
    put(store, "lost", 1)
    compaction.fold(store)
    store.delete([index.card_key(("lost", 1))])
    put_old(store, "by-hand", 1)
    assert found(store) == {("kept", 1), ("lost", 1)}
    rebuilding.rebuild(store)
    assert found(store) == {("kept", 1), ("by-hand", 1)}


def test_the_index_may_be_deleted_as_a_whole(store: Store) -> None:
    put(store, "a", 1)
    compaction.fold(store)
    store.delete(store.list(manifests.HOME))
    assert found(store) == {("a", 1)}
    put(store, "b", 1)
    assert found(store) == {("a", 1), ("b", 1)}


def test_whole_models_are_indexed_by_publishing_and_deleting_them(store: Store) -> None:
    refs = [tiny.model(store, "user/gap", f"run-0000000{n}") for n in (1, 2)]
    assert found(store) == {("user/gap", 1), ("user/gap", 2)}
    delete(store, str(refs[0]))
    assert found(store) == {("user/gap", 2)}
    compaction.fold(store)
    assert found(store) == {("user/gap", 2)}


def test_many_changes_make_a_rebuild_give_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    monkeypatch.setattr(rebuilding, "_replace", lambda *given: False)
    with pytest.raises(StoreError, match="others changed it all the time"):
        rebuilding.rebuild(store)
    assert store.list(index.SEGMENTS) == []


# --- what nothing needs ----------------------------------------------------------------------------------------------


def test_what_nothing_needs_is_found_and_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        put(store, f"m{n}", 1)
        compaction.fold(store)
    number = manifests.newest(store)
    assert rebuilding.garbage(store) == []
    old = f"{index.SEGMENTS}/20200101T000000Z-0123456789abcdef.parquet"
    young = f"{index.SEGMENTS}/{manifests.stamp(index.clock())}-0123456789abcdef.parquet"
    for key in (old, young):  # of folds that were killed
        store.create(key, b"half")
    monkeypatch.setattr(index, "KEPT", timedelta(0))
    compaction.fold(store)
    straggler = f"{index.marks_folder(1)}/{index.mark_id('m9', 1, 'published', index.clock())}"
    stale = manifests.manifest_key(1)
    for key in (straggler, stale):
        store.create(key, b"{}")
    assert rebuilding.garbage(store) == [stale, straggler, old]
    assert rebuilding.sweep(store) == 3
    assert rebuilding.garbage(store) == []
    assert store.exists(young)
    assert manifests.newest(store) == number + 1
    assert len(found(store)) == 4


def test_there_is_no_garbage_where_there_is_no_index(store: Store) -> None:
    assert rebuilding.garbage(store) == []
    assert rebuilding.sweep(store) == 0
    assert rebuilding.state(store) == {"manifest": 0, "complete": False}


def test_figures_of_the_index(store: Store) -> None:
    put(store, "a", 1)
    put(store, "b", 1)
    compaction.fold(store)
    put(store, "c", 1)
    index.note_published(store, "d", 1)
    remove(store, "a", 1)
    found_state = rebuilding.state(store)
    assert {key: found_state[key] for key in ("manifest", "complete", "rows", "segments", "marks_new")} == {
        "manifest": 2,
        "complete": True,
        "rows": 2,
        "segments": 1,
        "marks_new": 3,
    }
    assert found_state["bytes"] == store.size(store.list(index.SEGMENTS)[0])


def test_the_package_cannot_be_indexed() -> None:
    from xtlray.store import builtin

    with pytest.raises(RequestError, match="cannot be written"):
        rebuilding.rebuild(builtin())
