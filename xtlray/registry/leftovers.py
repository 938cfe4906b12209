"""What interrupted runs left behind in a store: found, and deleted.

Only what is known to be of no more use, folder by folder: never a complete model, a card, a record, a result or an
alias, and nothing of a kind that is not known here. A folder in which anything was written lately is left alone, for
it may be in use; it is looked at again right before it goes. Whoever publishes puts back what went just then.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from xtlray.clock import now_of
from xtlray.errors import RequestError, StoreError, StoreGoneError
from xtlray.names import check_model_name
from xtlray.registry import staged
from xtlray.registry.manifests import HOME
from xtlray.registry.publishing import claim_key
from xtlray.registry.removal import remove as finish
from xtlray.registry.versions import CARD, ModelRef
from xtlray.store import Listed, Store
from xtlray.store_check import PREFIX

HOURS = 24.0
KINDS = {
    "unpublished models": "files of versions whose publishing was cut off",
    "deleted models": "the rest of versions that somebody began to delete",
    "datasets": "shards of datasets whose making was cut off",
    "checkpoints": "of runs that have their outcome",
    "members": "of trials of runs that have their outcome",
    "ray": "Ray's own files of runs that have their outcome, and of attempts that another followed",
    "benchmarks": "what was written to be measured, of benchmarks that were cut off",
    "index": "parts of the library's index that no search reads, of folds that were cut off",
    "store checks": "what was written to try the store, by checks that were cut off",
    "writes": "parts of files whose writing was cut off",
}
"""What is found → what it is."""
Version = tuple[str, int]
log = logging.getLogger("xtlray.registry")


@dataclass(frozen=True)
class Leftover:
    """A folder of the store, or the part of it, that nobody needs.

    Attributes:
        kind: one of `KINDS`.
        place: the folder.
        items: what is to be deleted.
    """

    kind: str
    place: str
    items: tuple[Listed, ...]

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.items)


@dataclass
class Found:
    """What a search found: `leftovers`, and how many were left out since something in them is `young`."""

    since: datetime
    leftovers: list[Leftover] = field(default_factory=list)
    young: int = 0

    def add(self, kind: str, place: str, items: Iterable[Listed], *, at_any_age: bool = False) -> None:
        """Take it up, unless something in it was written lately."""
        items = tuple(sorted(items))
        if not items:  # a folder on a local disk, which stays when its last file is deleted
            return
        if at_any_age or all(item.modified < self.since for item in items):
            self.leftovers.append(Leftover(kind, place, items))
        else:
            self.young += 1


def find(store: Store, older_than_hours: float = HOURS) -> Found:
    """Look through a whole store.

    Args:
        store: where.
        older_than_hours: a folder in which anything is younger is left alone.

    Raises:
        RequestError: that is no number of hours.
    """
    try:
        found = Found(now_of(store) - timedelta(hours=older_than_hours))
    except (ValueError, OverflowError) as error:
        raise RequestError(
            "An age is a number of hours", got=str(older_than_hours), allowed="0 or more, such as 24"
        ) from error
    models = store.listing("models")
    runs = _by_run(store.listing("runs"))
    _models(store, models, runs, found)
    _datasets(store.listing("datasets"), found)
    for run, items in runs.items():
        _run(run, items, found)
    _index(store, found)
    for top in store.children(""):
        if re.fullmatch(f"{PREFIX}[0-9a-f]+", top):
            found.add("store checks", top, store.listing(top))
    for item in staged.find(store):
        found.add("writes", item.key, [item])
    found.leftovers.sort(key=lambda each: (list(KINDS).index(each.kind), each.place))
    return found


def remove(store: Store, leftover: Leftover) -> bool:
    """Delete a leftover; False where it has changed since it was found, and so is left alone."""
    if leftover.kind == "writes":
        staged.remove(store, leftover.place)
        return True
    if leftover.kind == "deleted models":
        _, *name, version = leftover.place.split("/")
        finish(ModelRef(store, "/".join(name), int(version)))
        return True
    if leftover.kind == "index":
        from xtlray.registry.rebuilding import drop  # imports pyarrow

        drop(store, [item.key for item in leftover.items])
        return True
    newest = max(item.modified for item in leftover.items)
    there = [item for item in store.listing(leftover.place) if not _is_attribute(item)]
    if any(item.modified > newest or item.key == f"{leftover.place}/{CARD}" for item in there):
        return False
    first = [item.key for item in leftover.items if item.key.endswith("/state.json")]  # makes a checkpoint count
    rest = [item.key for item in leftover.items if item.key not in {*first}]
    store.delete([*first, *rest])
    if leftover.kind == "store checks":
        store.delete_folder(leftover.place)  # in a folder, itself too
    return True


# --- models ----------------------------------------------------------------------------------------------------------


def _models(store: Store, items: Iterable[Listed], runs: Mapping[str, list[Listed]], found: Found) -> None:
    versions: dict[Version, list[Listed]] = defaultdict(list)
    deleted = set()
    for item in items:
        match item.key.split("/")[1:]:
            case [*name, "aliases", ".deleted", entry] if name:
                deleted.add(("/".join(name), _number(entry.removesuffix(".json"))))
            case [one, number, _, *_] if _number(number):
                versions[one, _number(number)].append(item)
            case [one, two, number, _, *_] if two != "aliases" and _number(number):
                versions[f"{one}/{two}", _number(number)].append(item)
    half: list[Version] = []
    for version, own in versions.items():
        if not _is_name(version[0]):
            continue
        if version in deleted:
            found.add("deleted models", _place(version), own, at_any_age=True)
        elif f"{_place(version)}/{CARD}" not in {item.key for item in own}:
            half.append(version)
    for version, run in zip(half, _owners(store, half), strict=True):
        # A run that goes on may publish what an attempt of long ago has begun.
        alive = [item for item in runs.get(run, ()) if item.modified >= found.since]
        if alive:
            found.young += 1
        else:
            found.add("unpublished models", _place(version), versions[version])


def _owners(store: Store, versions: list[Version]) -> list[str]:
    """The run that took the number of each version; empty where it was none."""
    owners = []
    for data in store.get_all([claim_key(*version) for version in versions]):
        owner = None
        with suppress(ValueError, RecursionError):
            owner = json.loads(data or b"null")
        owners.append(str(owner.get("run") or "") if isinstance(owner, dict) else "")
    return owners


def _place(version: Version) -> str:
    return f"models/{version[0]}/{version[1]}"


def _is_name(name: str) -> bool:
    try:
        return bool(check_model_name(name))
    except RequestError:
        return False


def _number(text: str) -> int:
    """The number that a text is, as we write it; else 0."""
    return int(text) if re.fullmatch("[1-9][0-9]{0,17}", text) else 0


# --- datasets, runs --------------------------------------------------------------------------------------------------


def _datasets(items: Iterable[Listed], found: Found) -> None:
    for place, own in _grouped(items, 4).items():
        if not re.fullmatch("[0-9a-f]{64}", place.rsplit("/", 1)[-1]):
            continue  # the log of what the name means
        if any(item.key == f"{place}/{CARD}" for item in own):
            continue
        shards = [item for item in own if not _is_attribute(item)]
        if shards:
            found.add("datasets", place, shards)


def _is_attribute(item: Listed) -> bool:
    """Whether it belongs to a dataset's attributes: those of a dataset of the package lie here without a card."""
    return item.key.startswith("datasets/") and item.key.split("/")[4:5] == ["attributes"]


def _by_run(items: Iterable[Listed]) -> dict[str, list[Listed]]:
    return {place.removeprefix("runs/"): own for place, own in _grouped(items, 2).items()}


def _run(run: str, items: list[Listed], found: Found) -> None:
    folder = f"runs/{run}"
    over = any(item.key == f"{folder}/outcome.json" for item in items)
    parts: dict[tuple[int, str], list[Listed]] = defaultdict(list)
    for item in items:
        match item.key.split("/")[2:]:
            case ["members", _, *_]:
                parts[0, "members"].append(item)
            case ["attempts", number, part, *_] if _number(number):
                parts[_number(number), part].append(item)
    newest = max(attempt for attempt, _ in [*parts, (0, "")])
    idle = all(item.modified < found.since for item in items)
    for (attempt, part), own in parts.items():
        place = f"{folder}/attempts/{attempt}/{part}" if attempt else f"{folder}/members"
        if part in ("members", "checkpoints") and over:
            found.add(part, place, own)
        elif part == "ray" and (over or attempt < newest):
            found.add("ray", place, own)
        elif part == "scratch" and (over or attempt < newest or idle):
            found.add("benchmarks", place, own)


def _grouped(items: Iterable[Listed], depth: int) -> dict[str, list[Listed]]:
    """Items by the first `depth` parts of their keys; those that have no more parts are left out."""
    groups: dict[str, list[Listed]] = defaultdict(list)
    for item in items:
        parts = item.key.split("/")
        if len(parts) > depth:
            groups["/".join(parts[:depth])].append(item)
    return groups


# --- the index -------------------------------------------------------------------------------------------------------


def _index(store: Store, found: Found) -> None:
    """Whatever its age, the rest of the index is in use."""
    from xtlray.registry.rebuilding import garbage  # imports pyarrow

    try:
        unneeded = {*garbage(store)}
    except StoreGoneError:
        raise
    except StoreError as error:
        log.warning("what is left over of the library's index cannot be told: %s", error)
        return
    items = [item for item in store.listing(HOME) if item.key in unneeded]
    old = [item for item in items if item.modified < found.since]
    found.young += len(old) < len(items)
    found.add("index", HOME, old)
