"""The manifests of the library's index: which segments hold, what waits, what was replaced. See `index.py`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from xtlray.errors import StoreError
from xtlray.names import check_model_name
from xtlray.store import Store

HOME = "index/models"
MANIFESTS = f"{HOME}/manifests"
FORMAT = 1
REBUILD = "xtlray models index --rebuild"
_STAMP = "%Y%m%dT%H%M%SZ"

What = Literal["published", "deleted"]
Version = tuple[str, int]


def stamp(moment: datetime) -> str:
    """A moment as it stands in keys: no colons, and sorted by time."""
    return moment.strftime(_STAMP)


def moment(text: str) -> datetime:
    """The moment that `stamp` has written. Raises `ValueError`."""
    return datetime.strptime(text, _STAMP).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Mark:
    """That a version's card may come (`published`) or go (`deleted`), since `when`. `id`: its key among the marks."""

    name: str
    version: int
    what: What
    when: str
    id: str

    @property
    def about(self) -> Version:
        return self.name, self.version


@dataclass(frozen=True)
class Segment:
    """A Parquet file of rows; `first` and `last`: lowest and highest `folded` in it; `gone`: its rows of that kind."""

    key: str
    rows: int
    gone: int
    bytes: int
    sha256: str
    first: int
    last: int


@dataclass(frozen=True)
class Retired:
    """A manifest that was replaced, when, and the segments that its successor needs no more."""

    number: int
    when: str
    segments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What the index consists of.

    Attributes:
        number: of the manifest.
        when: it was made.
        complete: whether all cards that are older than the index are in it.
        segments: that hold its rows.
        waiting: marks that are not decided.
        seen: ids of the marks under `number - 1` that need no other look.
        retired: earlier manifests that still lie there, oldest first.
        cleared: the highest number with which rows of the kind `gone` were left out; see `compaction.rebuild`.
    """

    number: int
    when: str
    complete: bool
    segments: tuple[Segment, ...] = ()
    waiting: tuple[Mark, ...] = ()
    seen: tuple[str, ...] = ()
    retired: tuple[Retired, ...] = ()
    cleared: int = 0
    format: int = FORMAT

    @property
    def key(self) -> str:
        return manifest_key(self.number)

    def create(self, store: Store) -> bool:
        """Write it; returns whether it is this one that was written, not another of the same number."""
        return store.create_json(self.key, asdict(self))


def manifest_key(number: int) -> str:
    return f"{MANIFESTS}/{number:012d}.json"


def newest(store: Store) -> int:
    """The number of the manifest that holds, 0 where there is no index."""
    names = (key.rsplit("/", 1)[1].removesuffix(".json") for key in store.list(MANIFESTS))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def read_manifest(store: Store, number: int) -> Manifest:
    """The manifest of that number. Raises `MissingKeyError`, or `StoreError` where it is damaged or too new."""
    key = manifest_key(number)
    data = store.get(key)
    try:
        value = json.loads(data)
        if value["format"] > FORMAT:
            raise StoreError(
                "The index of the library was written by a newer xtlray",
                got=f"{key}: format {value['format']}",
                allowed=f"up to {FORMAT}",
                fix="upgrade xtlray",
            )
        return Manifest(
            number=number,
            when=str(value["when"]),
            complete=bool(value["complete"]),
            segments=tuple(Segment(**each) for each in value["segments"]),
            waiting=tuple(_waiting(each) for each in value["waiting"]),
            seen=tuple(value["seen"]),
            retired=tuple(Retired(each["number"], each["when"], tuple(each["segments"])) for each in value["retired"]),
            cleared=int(value["cleared"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(f"{key}: {type(error).__name__}: {error}") from error


def _waiting(value: dict[str, Any]) -> Mark:
    moment(value["when"])
    check_model_name(value["name"])  # it becomes part of a key
    return Mark(**{**value, "version": int(value["version"])})


def damaged(what: str) -> StoreError:
    """The error for an index that is not what it should be."""
    return StoreError(
        "The index of the library is damaged; the models themselves are not", got=what, fix=f"make it anew: {REBUILD}"
    )
