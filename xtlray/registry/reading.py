"""All rows of the library, as whoever searches it needs them: those of the index, and what it does not hold yet.

What has not been folded is looked up in the cards, so what was published before the reading began is there. A library
without an index is read card by card, once: the index is made by it. The models of the package are always there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pyarrow as pa

from xtlray.errors import MissingKeyError, RequestError, StoreError, StoreGoneError
from xtlray.registry import columns, compaction, index, manifests, rebuilding, segments
from xtlray.store import Store, builtin

_TRIES = 20
_LONG_TAIL = 4 * compaction.FOLD_AT  # marks, of which a reader folds those that no publisher does
_NAMED = 5
Say = Callable[[str], None]
log = logging.getLogger("xtlray.registry")


def all_rows(store: Store, say: Say = lambda text: None) -> pa.Table:
    """One row per version and property, with the columns of `segments.SCHEMA`.

    Args:
        store: the library.
        say: told what takes long.

    Raises:
        StoreError: the index is damaged.
    """
    rows = pa.concat_tables([rows_of_the_library(store, say), _of_the_package()])
    unreadable = columns.there(rows["problem"])
    if unreadable.any():
        bad = columns.picked(rows, unreadable)
        named = ", ".join(f"{row['name']}@{row['version']}" for row in bad.slice(0, _NAMED).to_pylist())
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        log.warning("left out, for their cards cannot be read: %s%s; `xtlray models verify` says why", named, more)
    return columns.picked(rows, ~(unreadable | columns.truths(rows["gone"])))


def rows_of_the_library(store: Store, say: Say) -> pa.Table:
    """All rows but those of the package, with those of cards that cannot be read and of versions that are gone.

    Raises:
        StoreError: the index is damaged.
    """
    for _ in range(_TRIES):
        number = manifests.newest(store)
        try:
            base = manifests.read_manifest(store, number) if number else None
            if base is None or not base.complete:
                return _without_index(store, number, say)
            tail = index.tail(store, base)
            about = sorted(tail.about)
            keys = [segment.key for segment in base.segments]
            found = store.get_all([*keys, *map(index.card_key, about)])  # together: each wave costs a round trip
            tables = compaction.decoded(store, base, base.segments, found[: len(keys)])
        except MissingKeyError:
            continue  # replaced, and cleared away: there is a newer one
        cards = dict(zip(about, found[len(keys) :], strict=True))
        if len(tail.under) > _LONG_TAIL:
            index.tidy(store, number)
        return segments.joined([*tables, compaction.decide(tail.marks, cards, number + 1, strict=False).rows])
    raise StoreError(
        "The library could not be read", got="its index was replaced each time meanwhile", fix="run it again"
    )


def _without_index(store: Store, number: int, say: Say) -> pa.Table:
    """All rows from the cards, and the index made of them if we may write."""
    if number == 0 and next(rebuilding.versions_there(store), None) is None:
        return segments.NOTHING  # a new library: looking into it writes nothing
    say("this library has no index yet: all cards are read, once")
    refused: StoreError | RequestError | None = None
    try:
        number = number or index.begin(store)
    except StoreGoneError:
        raise
    except (StoreError, RequestError) as error:
        refused = error
    cards = rebuilding.read_library(store, say, number)
    if refused is None:
        try:
            rebuilding.adopt(store, number, cards)
        except StoreGoneError:
            raise
        except (StoreError, RequestError) as error:
            refused = error
    if refused is not None:
        log.warning("the index could not be written, so that every search reads all cards: %s", refused)
    return cards.rows


def _of_the_package() -> pa.Table:
    package = builtin()
    cards = (json.loads(package.get(index.card_key(about))) for about in rebuilding.versions_there(package))
    return segments.table_of([row for card in cards for row in segments.rows_of(card)], 0)
