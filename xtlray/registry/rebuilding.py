"""Making the library's index anew from the cards, and what else is done to it as a whole.

A rebuild reads every card, which takes minutes where there are many, while others publish, delete and fold. It notes
the number of the newest manifest first (`since`); its rows carry that number. At the end it takes over, from whatever
is the newest manifest then, the rows that came with a higher number, and the marks that wait or are not folded: each
change whose mark was placed after its listing is among them. Rows with a higher number hold against its own. One
thing would be missed: a version that it has read, and whose end (`gone`) was folded and left out of the index again
in the meantime. So manifests say when that was last done (`cleared`), and then the cards are read once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa

from xtlray.errors import MissingKeyError, RequestError, StoreError
from xtlray.names import check_model_name
from xtlray.registry import columns, compaction, index, manifests, segments
from xtlray.registry.manifests import Manifest, Segment, Version
from xtlray.store import Store

ORPHANED = timedelta(days=1)  # a segment that no manifest names: of a fold that was killed, or is still at work
_TRIES = 5
_RACES = 50
_BATCH = 512  # cards in memory at once
_SAID_EVERY = 5.0  # seconds
_CHUNK = 2 * compaction.FULL
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cards:
    """What all cards of a library say: `rows`, and of those that cannot be read, why, by `name@version`."""

    rows: pa.Table
    versions: int
    damaged: dict[str, str]


def read_library(store: Store, say: Say, folded: int = 0) -> Cards:
    """Read every card of a store: the only thing that lists all models.

    Args:
        store: the library.
        say: told of progress, where it takes long.
        folded: the number that the rows carry.
    """
    found = sorted(versions_there(store))
    damaged: dict[str, str] = {}
    tables, versions = [segments.NOTHING], 0
    said = time.monotonic()
    for start in range(0, len(found), _BATCH):
        if time.monotonic() - said >= _SAID_EVERY:
            said = time.monotonic()
            say(f"{start:,} of {len(found):,} cards read")
        cards = compaction.read_cards(store, found[start : start + _BATCH])
        rows = [row for about, data in cards.items() if data is not None for row in segments.rows_of_bytes(about, data)]
        versions += sum(data is not None for data in cards.values())
        damaged |= {f"{row['name']}@{row['version']}": row["problem"] for row in rows if row.get("problem")}
        tables.append(segments.table_of(rows, folded))
    return Cards(pa.concat_tables(tables), versions, damaged)


def versions_there(store: Store) -> Iterator[Version]:
    """The versions whose card is there, by one listing of all models."""
    for key in store.list("models"):
        match key.split("/"):
            case ["models", *parts, version, "card.json"] if version.isdecimal():
                about = ("/".join(parts), int(version))
                if _is_name(about[0]) and index.card_key(about) == key:
                    yield about


def _is_name(text: str) -> bool:
    try:
        check_model_name(text)
    except RequestError:
        return False  # nothing that could be loaded by that name
    return True


def rebuild(store: Store, say: Say = lambda text: None) -> Cards:
    """Make the index anew from the cards; it holds from the moment that its manifest is written.

    Args:
        store: the library. What is published or deleted meanwhile is not lost.
        say: told of progress.

    Returns:
        What the cards say.

    Raises:
        StoreError: others change the index all the time, or it was damaged while this was at work.
    """
    for _ in range(_TRIES):
        since = manifests.newest(store) or index.begin(store)
        cards = read_library(store, say, since)
        if adopt(store, since, cards):
            return cards
    raise StoreError(
        "The index of the library could not be made anew", got="others changed it all the time", fix="run it again"
    )


def adopt(store: Store, since: int, cards: Cards) -> bool:
    """Let the index be what all cards say.

    Args:
        store: the library.
        since: the number of the manifest that was the newest before the cards were listed; the rows carry it.
        cards: what they say.

    Returns:
        Whether it was done; False where the cards have to be read again.
    """
    made = [segments.write(store, cards.rows.slice(at, _CHUNK)) for at in range(0, len(cards.rows), _CHUNK)]
    if _replace(store, since, made):
        return True
    store.delete([segment.key for segment in made])
    return False


def _replace(store: Store, since: int, made: Sequence[Segment]) -> bool:
    """Let the segments that were made hold. Returns False where the cards have to be read again."""
    for _ in range(_RACES):
        number = manifests.newest(store)
        try:
            base, tail = _base(store, number, since)
            if base.cleared > since:
                return False
            decided = compaction.decide(tail.marks, compaction.read_cards(store, tail.about), number + 1)
            younger = compaction.read_segments(store, base, [each for each in base.segments if each.last > since])
        except MissingKeyError:
            continue  # replaced, and cleared away: there is a newer one
        younger = [columns.picked(each, columns.wholes(each["folded"]) > since) for each in younger]
        rows = segments.joined([*younger, decided.rows])
        if compaction.succeed(store, base, tail.under, tuple(made), rows, decided.waiting, True, number + 1):
            return True
    return False


def _base(store: Store, number: int, since: int) -> tuple[Manifest, index.Tail]:
    """The manifest that is to be replaced, and its tail. Of one that is damaged, what there is beside it."""
    try:
        base = manifests.read_manifest(store, number)
    except MissingKeyError:
        raise
    except StoreError:
        if number > since:
            raise
        base = Manifest(number=number, when=manifests.stamp(index.clock()), complete=False)
        return base, index.every_mark(store, number)
    return base, index.tail(store, base)


# --- what nothing needs any more -------------------------------------------------------------------------------------


def garbage(store: Store) -> list[str]:
    """Keys of the index that nothing needs: left by what was killed, or from before a rebuild. `drop` deletes them.

    Raises:
        StoreError: the index is damaged.
    """
    number = manifests.newest(store)
    if number == 0:
        return []
    newest = manifests.read_manifest(store, number)
    alive = {number, *(each.number for each in newest.retired)}
    needed = {each.key for each in newest.segments} | {key for each in newest.retired for key in each.segments}
    orphaned = manifests.stamp(index.clock() - ORPHANED)
    found = []
    for key in store.list(manifests.HOME):
        kind, _, name = key.removeprefix(f"{manifests.HOME}/").partition("/")
        of = name.split("/")[0].removesuffix(".json")
        old = of.isdecimal() and int(of) < number
        replaced = kind == "manifests" and old and int(of) not in alive
        orphan = kind == "segments" and key not in needed and name < orphaned
        if replaced or orphan or (kind in ("new", "folding") and old and int(of) < min(alive) - 1):
            found.append(key)
    return found


def sweep(store: Store) -> int:
    """Delete the garbage of the index; returns how many keys there were."""
    keys = garbage(store)
    drop(store, keys)
    return len(keys)


def drop(store: Store, keys: Sequence[str]) -> None:
    """Delete garbage of the index: manifests before what they speak of."""
    first = {key for key in keys if key.startswith(f"{manifests.MANIFESTS}/")}
    store.delete(sorted(first))
    store.delete(key for key in keys if key not in first)


def state(store: Store) -> dict[str, Any]:
    """Figures of the index: `manifest` (its number, 0 where there is none), whether it is `complete`, how big it is.

    Raises:
        StoreError: the index is damaged.
    """
    number = manifests.newest(store)
    if number == 0:
        return {"manifest": 0, "complete": False}
    base = manifests.read_manifest(store, number)
    tail = index.tail(store, base)
    return {
        "manifest": number,
        "made": manifests.moment(base.when).isoformat(),
        "complete": base.complete,
        "rows": sum(each.rows for each in base.segments),
        "segments": len(base.segments),
        "bytes": sum(each.bytes for each in base.segments),
        "marks_waiting": len(base.waiting),
        "marks_new": len(tail.marks) - len(base.waiting),
    }
