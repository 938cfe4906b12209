"""The index of the library: what `models search` reads instead of a hundred thousand cards.

The cards stay the truth; the index can be made from them at any time. It is written by many at once, any of whom may
be killed anywhere, with create-once writes only:

    index/models/manifests/<n>.json     which segments hold; the highest n counts
    index/models/segments/<id>.parquet  rows of many versions, immutable
    index/models/new/<n>/<mark>.json    a mark says that a version's card may come, or may go
    index/models/folding/<n>.json       who is at work on manifest n + 1, so that not all do it at once

A mark holds no row: it tells a reader which card to look at, and what the card says is so. Whoever publishes or
deletes a version writes its mark *before* it touches the card, under the number n of the newest manifest, and looks
again: where a newer manifest has come meanwhile, it writes the mark anew under that one, until none has. Only then is
the mark *placed*. At some moment after it was written, its manifest n was still the newest.

Folding (`compaction.py`) makes manifest n + 1: it reads manifest n, then lists the marks under n - 1 and n, then reads
their cards, and writes rows of the cards that are there into a segment. What is not decided (a card that has not come
or not gone yet) waits in the manifest itself. `seen` names the marks under n that it has dealt with.

*No placed mark is missed.* Let a mark be placed under m. Whoever reads manifest m as the newest after that finds it
in the listing of m. The maker of m + 1 may have listed m before the mark came: then it is not in `seen`, and whoever
reads manifest m + 1 lists m, too, and finds it. The maker of m + 2 began by reading manifest m + 1, which was made
after the mark was placed (m was still the newest then), and listed m after that: so it has found it, or it was in
`seen` of m + 1. So from manifest m + 2 on the mark lives in a row, or waits. A straggler that died before its mark was
placed has not touched the card.

*The latest holds.* Rows carry the number of the manifest that they came with, `folded`; of several rows of one version
those with the highest hold. The row of a version whose card was found gone says just that. Each making looks at a
version's card once, so there are never two rows of different kinds with one number.

*Nothing vanishes under a reader.* What is no longer needed is deleted an hour later, a manifest before all that only
it and older ones need. A reader that has read everything looks whether its manifest is still there; if so, so was all
the rest, else it begins anew. Time is no part of the argument, it only keeps such new beginnings rare.

Limits: a mark is given up when its card has not come a day after a fold first saw it, so whoever stood still for a day
between the two is not in the index until it is rebuilt (a publisher that took an hour writes its mark again
afterwards). The folder may be deleted as a whole while nobody publishes; search then makes it anew.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from xtlray.errors import RequestError, StoreError, StoreGoneError
from xtlray.names import check_model_name
from xtlray.registry.manifests import HOME, Manifest, Mark, Version, What, moment, newest, stamp
from xtlray.store import Store

SEGMENTS, NEW, FOLDING = (f"{HOME}/{name}" for name in ("segments", "new", "folding"))
GIVEN_UP = timedelta(days=1)  # a mark whose card has not come, or not gone
SLOW = timedelta(hours=1)  # between a mark and its card; long before it is given up
KEPT = timedelta(hours=1)  # what a newer manifest has replaced
log = logging.getLogger("xtlray.registry")
_MARK = re.compile(
    r"(?P<name>.+)!(?P<version>[1-9][0-9]*)!(?P<what>published|deleted)!(?P<when>\d{8}T\d{6}Z)!\w+\.json"
)
_LONG = 120  # characters of a name that still goes into the name of one file


def clock() -> datetime:
    """The present time."""
    return datetime.now(UTC)


# --- what publishing and deleting do ---------------------------------------------------------------------------------


@contextmanager
def publishing(store: Store, name: str, version: int) -> Iterator[None]:
    """Within it the version's card is written, once all else is there: then no search that begins later misses it.

    Args:
        store: the library.
        name: of the model.
        version: its number.
    """
    number, begun = note_published(store, name, version), clock()
    yield
    if clock() - begun > SLOW:
        number = note_published(store, name, version)
    tidy(store, number)


def note_published(store: Store, name: str, version: int) -> int:
    """Say that this version's card may come; `publishing` does, and folds what is due.

    Returns:
        The number of the manifest that its mark was placed under.
    """
    return _place(store, name, version, "published")


def note_deleted(store: Store, name: str, version: int) -> None:
    """Say that this version's card may go. Call it right before the card is deleted.

    Args:
        store: the library.
        name: of the model.
        version: its number.
    """
    _place(store, name, version, "deleted")


def _place(store: Store, name: str, version: int, what: What) -> int:
    """Write a mark until it is placed; returns the number of the manifest that it was placed under."""
    check_model_name(name)  # no reader would take a mark of another
    number = newest(store) or begin(store)
    written = 0
    while written != number:
        key = f"{marks_folder(number)}/{mark_id(name, version, what, clock())}"
        store.create_json(key, {"model": f"{name}@{version}", "what": what})
        written, number = number, newest(store)
    return number


def mark_id(name: str, version: int, what: What, when: datetime) -> str:
    """A new mark's key within the folder of marks. It is never that of another mark."""
    flat = name.replace("/", "!") if len(name) <= _LONG else name
    return f"{flat}!{version}!{what}!{stamp(when)}!{secrets.token_hex(8)}.json"


def begin(store: Store) -> int:
    """Make the first manifest, and return its number. Where there are cards already, it is not complete."""
    known = any(key.endswith("/card.json") for key in store.list("models"))
    Manifest(number=1, when=stamp(clock()), complete=not known).create(store)
    return newest(store)


def tidy(store: Store, number: int) -> None:
    """Fold what has gathered under the newest manifest, `number`, if that is a lot and nobody else is at it.

    What was published is safe without it, so a failure is only logged, unless the store is gone.
    """
    from xtlray.registry.compaction import fold_if_due  # imports pyarrow, which most publishers do not need

    try:
        fold_if_due(store, number)
    except StoreGoneError:
        raise
    except (StoreError, RequestError) as error:
        log.warning("the index of the library could not be brought up to date: %s", error)


# --- what reading and folding do -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tail:
    """Marks that the rows of a manifest know nothing of yet; `under`: the ids of those under that manifest itself."""

    marks: tuple[Mark, ...]
    under: tuple[str, ...]

    @property
    def about(self) -> set[Version]:
        return {mark.about for mark in self.marks}


def tail(store: Store, manifest: Manifest) -> Tail:
    """All marks that the rows of a manifest know nothing of yet: their cards decide what holds.

    Those that do not wait yet begin to wait now, whatever the clock of their writer said.
    """
    seen, now = set(manifest.seen), stamp(clock())
    before = [mark for mark in marks(store, manifest.number - 1) if mark.id not in seen]
    under = marks(store, manifest.number)
    young = [replace(mark, when=now) for mark in (*before, *under)]
    return Tail((*manifest.waiting, *young), tuple(mark.id for mark in under))


def every_mark(store: Store, number: int) -> Tail:
    """All marks that lie there, for where manifest `number` cannot be read."""
    under = tuple(mark.id for mark in marks(store, number))
    folders = sorted({key.removeprefix(f"{NEW}/").split("/")[0] for key in store.list(NEW)})
    return Tail(tuple(mark for folder in folders if folder.isdecimal() for mark in marks(store, int(folder))), under)


def marks(store: Store, number: int) -> list[Mark]:
    """The marks that were written under manifest `number`."""
    folder = marks_folder(number)
    found = [_mark(key.removeprefix(f"{folder}/")) for key in store.list(folder)]
    return [mark for mark in found if mark is not None]


def marks_folder(number: int) -> str:
    return f"{NEW}/{number:012d}"


def _mark(key: str) -> Mark | None:
    match = _MARK.fullmatch(key.replace("/", "!"))
    try:
        if match is None:
            raise ValueError("it is none")
        moment(match["when"])
        name = check_model_name(match["name"].replace("!", "/"))
    except ValueError as error:
        log.warning("among the marks of the library's index lies %s, which is passed over: %s", key, error)
        return None
    return Mark(
        name, int(match["version"]), "published" if match["what"] == "published" else "deleted", match["when"], key
    )


def card_key(about: Version) -> str:
    return f"models/{about[0]}/{about[1]}/card.json"
