"""Moving aliases: by people, alone and at once, protected ones; and when `best` moves."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from xtlray.errors import RequestError, StoreError
from xtlray.registry import promotion
from xtlray.registry.aliases import alias_history
from xtlray.registry.promotion import move_best, promote
from xtlray.registry.versions import ModelRef, resolve
from xtlray.store import Store


def history(store: Store) -> list[tuple[int, str]]:
    return [(entry["version"], entry["reason"]) for entry in alias_history(store, "jarvis/klu", "best")]


def ref(store: Store, version: int) -> ModelRef:
    """A version that is there, as far as an alias cares."""
    found = ModelRef(store, "jarvis/klu", version)
    store.create(found.card_key, b"{}")
    return found


def of_production(store: Store) -> list[tuple[int, int | None, bool]]:
    entries = alias_history(store, "jarvis/klu", "production")
    return [(entry["version"], entry["from"], entry["protected"]) for entry in entries]


# --- by people -------------------------------------------------------------------------------------------------------


def test_who_when_from_what_and_why(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    for n in (1, 2, 3):
        ref(store, n)
    first = promote(store, "jarvis/klu@3", "production", reason="  the\nfirst \x1b one ")
    assert (str(first.ref), first.before, first.moved, first.protected) == ("jarvis/klu@3", None, True, False)
    said: list[str] = []
    second = promote(store, "jarvis/klu@production", "staging", announce=said.append)
    assert (str(second.ref), said) == ("jarvis/klu@3", ["jarvis/klu@production is jarvis/klu@3"])
    back = promote(store, "jarvis/klu@1", "production")
    assert (back.before, resolve(store, "jarvis/klu@production").version) == (3, 1)
    one, two = alias_history(store, "jarvis/klu", "production")
    assert (one["who"], one["reason"], one["from"]) == ("ada", "the first one", None)
    assert (two["who"], two["reason"], two["from"]) == ("ada", "", 3)
    assert one["when"] <= two["when"]


def test_where_it_points_already_nothing_is_written(store: Store) -> None:
    ref(store, 1)
    promote(store, "jarvis/klu@1", "production")
    before = store.list("models")
    again = promote(store, "jarvis/klu@latest", "production", reason="another")
    assert (again.moved, again.before) == (False, 1)
    assert store.list("models") == before


def test_a_protected_alias_moves_by_force_and_stays_protected(store: Store) -> None:
    for n in (1, 2, 3):
        ref(store, n)
    promote(store, "jarvis/klu@1", "production", protect=True)
    for protect in (None, True, False):
        with pytest.raises(RequestError, match=r"klu@production is protected.*klu@2; it means @1 since 20.*--force"):
            promote(store, "jarvis/klu@2", "production", protect=protect)
    assert promote(store, "jarvis/klu@2", "production", force=True).protected
    with pytest.raises(RequestError, match="protected"):
        promote(store, "jarvis/klu@3", "production")
    assert not promote(store, "jarvis/klu@3", "production", force=True, protect=False).protected
    promote(store, "jarvis/klu@1", "production")
    assert of_production(store) == [(1, None, True), (2, 1, True), (3, 2, False), (1, 3, False)]


def test_protection_alone_can_be_put_on_and_taken_off(store: Store) -> None:
    ref(store, 1)
    promote(store, "jarvis/klu@1", "production")
    assert promote(store, "jarvis/klu@1", "production", protect=True).moved
    assert not promote(store, "jarvis/klu@1", "production", protect=True).moved
    assert promote(store, "jarvis/klu@1", "production", protect=False).moved
    assert of_production(store) == [(1, None, False), (1, 1, True), (1, 1, False)]


@pytest.mark.parametrize(
    ("model", "alias", "message"),
    [
        ("jarvis/klu@2", "production", "no such version.*@2.*Allowed: 1"),  # files without a card
        ("jarvis/klu@7", "production", "no such version.*@7.*Allowed: 1"),
        ("jarvis/klu@8", "production", "deleted 2026-01-01.* by ada.*Allowed: 1"),
        ("jarvis/kul@1", "production", "no model of that name.*jarvis/klu"),
        ("jarvis/klu@old", "production", "no alias of jarvis/klu of that name"),
        ("jarvis/klu", "production", "Which version is meant.*jarvis/klu@3"),
        ("builtin/oqmd@1", "production", "models of the package.*xtlray models copy"),
        ("jarvis/klu@1", "latest", "latest is always the newest"),
        ("jarvis/klu@1", "3", "one word.*no bare number"),
        ("jarvis/klu@1", "../best", "one word"),
        ("jarvis/klu@1", ".versions", "one word"),
        ("jarvis/klu@1", "Best", "one word"),
        ("jarvis/klu@1", "", "one word"),
    ],
)
def test_what_cannot_be_promoted(store: Store, model: str, alias: str, message: str) -> None:
    ref(store, 1)
    store.create("models/jarvis/klu/2/weights.safetensors", b"half")
    store.create_json("models/jarvis/klu/aliases/.deleted/8.json", {"who": "ada", "when": "2026-01-01T00:00:00Z"})
    before = store.list("")
    with pytest.raises(RequestError, match=message):
        promote(store, model, alias)
    assert store.list("") == before


def test_of_many_promoters_each_sees_what_it_followed(store: Store) -> None:
    for n in range(1, 9):
        ref(store, n)
    together = threading.Barrier(8)

    def go(n: int) -> Any:
        together.wait()
        return promote(store, f"jarvis/klu@{n}", "production")

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(go, range(1, 9)))
    assert all(each.moved for each in done)
    entries = of_production(store)
    assert sorted(version for version, _, _ in entries) == list(range(1, 9))
    assert [before for _, before, _ in entries] == [None, *(version for version, _, _ in entries[:-1])]
    assert Counter((each.ref.version, each.before) for each in done) == Counter(entry[:2] for entry in entries)
    assert resolve(store, "jarvis/klu@production").version == entries[-1][0]


def test_whoever_is_overtaken_by_a_protection_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (1, 2, 3):
        ref(store, n)
    promote(store, "jarvis/klu@1", "production")
    add = promotion.add_entry

    def overtaken(*arguments: Any) -> bool:
        monkeypatch.setattr(promotion, "add_entry", add)
        promote(store, "jarvis/klu@2", "production", protect=True)
        return add(*arguments)

    monkeypatch.setattr(promotion, "add_entry", overtaken)
    with pytest.raises(RequestError, match="protected"):
        promote(store, "jarvis/klu@3", "production")
    assert of_production(store) == [(1, None, False), (2, 1, True)]


def test_a_version_that_is_deleted_while_it_is_promoted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    target, add = ref(store, 1), promotion.add_entry

    def deleted(*arguments: Any) -> bool:
        store.delete([target.card_key])
        return add(*arguments)

    monkeypatch.setattr(promotion, "add_entry", deleted)
    with pytest.raises(StoreError, match="klu@1 was deleted while production was moved to it"):
        promote(store, "jarvis/klu@1", "production")


# --- best ------------------------------------------------------------------------------------------------------------


def test_best_moves_to_a_lower_validation_error_only(store: Store) -> None:
    assert alias_history(store, "jarvis/klu", "best") == []
    moved = [
        move_best(store, ref(store, n), mae, "s", "p") for n, mae in enumerate((0.5, 0.5, 0.6, 0.4, 0.45), start=1)
    ]
    assert moved == [True, False, False, True, False]
    assert history(store) == [(1, "first"), (4, "validation MAE 0.4 is below 0.5 of version 1")]


@pytest.mark.parametrize(("split", "protocol"), [("other", "p"), ("s", "other")])
def test_best_moves_where_errors_cannot_be_compared_and_the_log_says_so(
    store: Store, split: str, protocol: str
) -> None:
    move_best(store, ref(store, 1), 0.5, "s", "p")
    assert move_best(store, ref(store, 2), 9.0, split, protocol)
    assert history(store)[-1] == (2, "another split or protocol: errors cannot be compared with the version before")
    assert not move_best(store, ref(store, 3), 9.5, split, protocol)


def test_a_run_that_is_resumed_does_not_bring_back_what_was_followed(store: Store) -> None:
    assert move_best(store, ref(store, 1), 0.5, "s", "p")
    assert not move_best(store, ref(store, 1), 0.5, "s", "p")
    assert move_best(store, ref(store, 2), 0.9, "other", "p")
    assert not move_best(store, ref(store, 1), 0.5, "s", "p")
    assert [version for version, _ in history(store)] == [1, 2]


def test_of_racers_the_lowest_error_is_best(store: Store) -> None:
    errors = [0.5, 0.3, 0.9, 0.1, 0.7, 0.2, 0.8, 0.4]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: move_best(store, ref(store, n + 1), errors[n], "s", "p"), range(8)))
    entries = alias_history(store, "jarvis/klu", "best")
    assert entries[-1]["version"] == 4
    assert [entry["val_mae"] for entry in entries] == sorted((e["val_mae"] for e in entries), reverse=True)
    assert [entry["from"] for entry in entries] == [None, *(entry["version"] for entry in entries[:-1])]


def test_a_protected_best_stays_and_the_log_says_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "xtlray")
    move_best(store, ref(store, 1), 0.5, "s", "p")
    promote(store, "jarvis/klu@1", "best", protect=True)
    assert not move_best(store, ref(store, 2), 0.6, "s", "p")
    assert caplog.messages == []  # it would not have moved anyway
    assert not move_best(store, ref(store, 3), 0.4, "s", "p")
    assert caplog.messages == [
        "jarvis/klu@best is protected and stays @1; else it would mean @3 now: "
        "validation MAE 0.4 is below 0.5 of version 1"
    ]
    assert resolve(store, "jarvis/klu@best").version == 1
    promote(store, "jarvis/klu@1", "best", protect=False)
    assert move_best(store, ref(store, 3), 0.4, "s", "p")


def test_best_by_hand_keeps_the_error_that_it_had(store: Store) -> None:
    for n, mae in ((1, 0.5), (2, 0.4)):
        move_best(store, ref(store, n), mae, "s", "p")
    promote(store, "jarvis/klu@1", "best", reason="2 is overfitted")
    assert not move_best(store, ref(store, 3), 0.6, "s", "p")
    assert not move_best(store, ref(store, 2), 0.4, "s", "p")  # a resumed run asks again
    assert move_best(store, ref(store, 4), 0.45, "s", "p")
    assert history(store)[2:] == [(1, "2 is overfitted"), (4, "validation MAE 0.45 is below 0.5 of version 1")]


def test_best_by_hand_of_a_version_whose_error_is_not_known(store: Store) -> None:
    ref(store, 1)
    promote(store, "jarvis/klu@1", "best")
    assert move_best(store, ref(store, 2), 9.0, "s", "p")
    assert history(store)[-1] == (2, "version 1 was chosen by a person: it has no validation error to compare with")


def test_best_that_was_deleted_goes_to_the_lower_of_what_is_left(store: Store) -> None:
    for n, mae in ((1, 0.5), (2, 0.4), (3, 0.3)):
        move_best(store, ref(store, n), mae, "s", "p")
    store.delete([f"models/jarvis/klu/{n}/card.json" for n in (3, 2)])
    assert not move_best(store, ref(store, 4), 0.6, "s", "p")  # back to the one before
    assert history(store)[-1] == (1, "version 3, which was best, was deleted: version 1 was best before it")
    newest = alias_history(store, "jarvis/klu", "best")[-1]
    assert (newest["from"], newest["val_mae"]) == (3, 0.5)
    assert move_best(store, ref(store, 5), 0.45, "s", "p")


def test_best_that_was_deleted_moves_on_to_what_is_lower(store: Store) -> None:
    for n, mae in ((1, 0.5), (2, 0.3)):
        move_best(store, ref(store, n), mae, "s", "p")
    store.delete(["models/jarvis/klu/2/card.json"])
    assert move_best(store, ref(store, 3), 0.4, "s", "p")
    assert history(store)[-1] == (
        3,
        "version 2, which was best, was deleted: validation MAE 0.4 is below 0.5 of version 1",
    )


def test_best_of_which_all_were_deleted(store: Store) -> None:
    move_best(store, ref(store, 1), 0.3, "s", "p")
    store.delete(["models/jarvis/klu/1/card.json"])
    assert move_best(store, ref(store, 2), 0.9, "s", "p")
    assert history(store)[-1] == (2, "version 1, which was best, was deleted: none that was best before it is there")


def test_best_does_not_move_to_what_was_deleted_since_it_was_published(store: Store) -> None:
    move_best(store, ref(store, 1), 0.5, "s", "p")
    gone = ref(store, 2)
    store.delete([gone.card_key])
    assert not move_best(store, gone, 0.1, "s", "p")
    assert resolve(store, "jarvis/klu@best").version == 1


def test_best_that_was_deleted_does_not_come_back_over_what_followed(store: Store) -> None:
    for n, mae in ((1, 0.5), (2, 0.4), (3, 0.3)):
        move_best(store, ref(store, n), mae, "s", "p")
    store.delete(["models/jarvis/klu/3/card.json"])
    assert not move_best(store, ref(store, 1), 0.5, "s", "p")  # the run of version 1 is resumed
    assert history(store)[-1][0] == 2


def test_best_that_was_deleted_and_is_protected_stays(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    move_best(store, ref(store, 1), 0.5, "s", "p")
    promote(store, "jarvis/klu@1", "best", protect=True)
    store.delete(["models/jarvis/klu/1/card.json"])
    assert not move_best(store, ref(store, 2), 0.4, "s", "p")
    assert "protected and stays @1" in caplog.text
    promote(store, "jarvis/klu@2", "best", force=True)
    assert resolve(store, "jarvis/klu@best").version == 2
