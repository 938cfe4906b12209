"""Keeping the library's index short: folding new marks into rows, merging segments, clearing away what was replaced.

How this is safe beside everybody else is told in `index.py`. Its work is bounded, however large the library is: a fold
reads the cards of the marks that have come since the last one, and merges only segments that are about as small as
what it adds, until they hold `FULL` rows. So each row is written a few times at most, one fold writes fewer than twice
`FULL` rows, and a library of 100,000 lies in a dozen segments.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile

import pyarrow as pa

from xtlray.errors import MissingKeyError
from xtlray.registry import columns, index, manifests, segments
from xtlray.registry.manifests import Manifest, Mark, Retired, Segment, Version
from xtlray.store import Store

FULL = 16_384  # rows of a segment that is not merged again
FOLD_AT = 100  # marks
LEASE = timedelta(seconds=30)  # for which one is left alone with a fold


# --- reading ---------------------------------------------------------------------------------------------------------


def read_cards(store: Store, about: Iterable[Version]) -> dict[Version, bytes | None]:
    """What the cards of some versions hold, None where there is none."""
    asked = sorted(about)
    return dict(zip(asked, store.get_all([index.card_key(each) for each in asked]), strict=True))


def read_segments(store: Store, manifest: Manifest, wanted: Sequence[Segment]) -> list[pa.Table]:
    """The tables of some segments of a manifest. Call it last of all that is read: it looks whether all that held.

    Raises:
        MissingKeyError: the manifest has been replaced and cleared away meanwhile: begin anew.
        StoreError: the index is damaged.
    """
    return decoded(store, manifest, wanted, store.get_all([segment.key for segment in wanted]))


def decoded(
    store: Store, manifest: Manifest, wanted: Sequence[Segment], found: Sequence[bytes | None]
) -> list[pa.Table]:
    """`read_segments`, of what was read from the store already."""
    if not store.exists(manifest.key):
        raise MissingKeyError("The index of the library was replaced while it was read", got=manifest.key)
    tables = []
    for segment, data in zip(wanted, found, strict=True):
        if data is None:
            raise manifests.damaged(f"{segment.key} is missing, which {manifest.key} names")
        tables.append(segments.read(segment, data))
    return tables


# --- deciding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decided:
    """What the cards say of some marks: rows for a segment, and the marks that must wait."""

    rows: pa.Table
    waiting: tuple[Mark, ...]


def decide(marks: Sequence[Mark], cards: dict[Version, bytes | None], number: int, strict: bool = True) -> Decided:
    """What becomes of marks.

    Args:
        marks: to be decided.
        cards: what the card of each version that they are about holds, None where there is none.
        number: of the manifest that the rows come with.
        strict: see `segments.rows_of_bytes`.
    """
    kinds = defaultdict(set)
    for mark in marks:
        kinds[mark.about].add(mark.what)
    rows: list[segments.Row] = []
    for about, data in cards.items():
        if data is None and "deleted" in kinds[about]:
            rows.append(segments.gone(about))
        elif data is not None and "published" in kinds[about]:
            rows += segments.rows_of_bytes(about, data, strict)
    # A card that has not come, or has not gone. Of several marks the youngest is enough.
    still = [mark for mark in marks if (cards[mark.about] is None) == (mark.what == "published")]
    youngest = {(mark.about, mark.what): mark for mark in sorted(still, key=lambda mark: mark.when)}
    oldest = manifests.stamp(index.clock() - index.GIVEN_UP)
    return Decided(segments.table_of(rows, number), tuple(m for m in youngest.values() if m.when > oldest))


# --- folding ---------------------------------------------------------------------------------------------------------


def fold_if_due(store: Store, number: int) -> bool:
    """Fold if `FOLD_AT` marks have come under manifest `number`, and nobody else is at it. Returns whether it did."""
    return len(index.marks(store, number)) >= FOLD_AT and _leased(store, number) and fold(store)


def _leased(store: Store, number: int) -> bool:
    """Whether it is our turn. This saves work, and nothing hangs on it: of two folds at once one writes a manifest."""
    key = _lease_key(number)
    if store.create_json(key, {"when": manifests.stamp(index.clock())}):
        return True
    try:
        since = manifests.moment(json.loads(store.get(key))["when"])
    except (MissingKeyError, KeyError, TypeError, ValueError):
        return True
    return index.clock() - since > LEASE


def _lease_key(number: int) -> str:
    return f"{index.FOLDING}/{number:012d}.json"


def fold(store: Store, whole: bool = False) -> bool:
    """Make the next manifest, with what has come since the newest.

    Args:
        store: the library.
        whole: merge all segments, so that nothing is left in them of what was deleted.

    Returns:
        Whether it was made; False where there is no index, or another was faster.

    Raises:
        StoreError: the index is damaged.
    """
    number = manifests.newest(store)
    if number == 0:
        return False
    try:
        base = manifests.read_manifest(store, number)
        tail = index.tail(store, base)
        decided = decide(tail.marks, read_cards(store, tail.about), number + 1)
        merged = base.segments if whole else _mergeable(base.segments, len(decided.rows))
        tables = read_segments(store, base, merged)
    except MissingKeyError:
        return False  # replaced, and cleared away: there is a newer one
    rows = segments.joined([*tables, decided.rows])
    kept = tuple(each for each in base.segments if each not in merged)
    cleared = base.cleared
    if not kept and (gone := columns.truths(rows["gone"])).any():
        rows, cleared = columns.picked(rows, ~gone), number + 1
    return succeed(store, base, tail.under, kept, rows, decided.waiting, base.complete, cleared)


def _mergeable(there: Sequence[Segment], new: int) -> tuple[Segment, ...]:
    """The segments to be merged with so many new rows: from the smallest on, while they are about of a size."""
    merged: list[Segment] = []
    rows = new
    for segment in sorted((each for each in there if each.rows < FULL), key=lambda each: each.rows):
        if rows >= FULL or segment.rows > 2 * rows:
            break
        merged.append(segment)
        rows += segment.rows
    return tuple(merged)


def succeed(
    store: Store,
    base: Manifest,
    seen: tuple[str, ...],
    kept: tuple[Segment, ...],
    rows: pa.Table,
    waiting: tuple[Mark, ...],
    complete: bool,
    cleared: int,
) -> bool:
    """Write the manifest after `base`, and before it what it needs. Returns whether it was this one that was written.

    Args:
        store: the library.
        base: the manifest that is replaced.
        seen: ids of the marks under it that were decided on, or wait.
        kept: segments that hold.
        rows: to be written as segments beside them.
        waiting: marks that are not decided.
        complete: see `Manifest`.
        cleared: see `Manifest`.
    """
    written = tuple(segments.write(store, rows.slice(at, 2 * FULL)) for at in range(0, len(rows), 2 * FULL))
    at = manifests.stamp(index.clock())
    following = Manifest(
        number=base.number + 1,
        when=at,
        complete=complete,
        segments=(*kept, *written),
        waiting=waiting,
        seen=seen,
        retired=(
            *clear(store, base.retired),
            Retired(base.number, at, tuple(each.key for each in base.segments if each not in kept)),
        ),
        cleared=cleared,
    )
    if following.create(store):
        return True
    store.delete([segment.key for segment in written])
    return False


# --- clearing away ---------------------------------------------------------------------------------------------------


def clear(store: Store, retired: Sequence[Retired]) -> tuple[Retired, ...]:
    """Delete what was replaced `KEPT` ago, oldest first, each manifest before what it needs. Returns what is left."""
    before = manifests.stamp(index.clock() - index.KEPT)
    over = list(takewhile(lambda each: each.when <= before, retired))
    for each in over:
        store.delete([manifests.manifest_key(each.number)])
        marks = store.list(index.marks_folder(each.number - 1))
        store.delete([*each.segments, _lease_key(each.number), *marks])
    return tuple(retired[len(over) :])
