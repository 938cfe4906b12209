"""Deleting a version of a model: what depends on it, and its end.

First it is noted for good who deletes it, so that its number never comes back and whoever comes later can finish; then
the card goes, so that no reader sees a part of it; then its files.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from xtlray.errors import RequestError, StoreError, StoreGoneError
from xtlray.names import PART, parse_model
from xtlray.registry import index
from xtlray.registry.aliases import LATEST, aliases_of, newest_entry, user
from xtlray.registry.publishing import decision_of_run, decisions
from xtlray.registry.versions import ModelRef, deletion, deletion_key, latest, resolve
from xtlray.runs import now
from xtlray.store import Store

log = logging.getLogger("xtlray.registry")


@dataclass(frozen=True)
class Dependents:
    """What names a version of a model.

    Attributes:
        aliases: that mean it, `latest` among them.
        protected: those of them that are protected.
        models: that were carried over from it, in whatever number of steps.
        results: rows of the leaderboard that are published as it.
    """

    aliases: list[str] = field(default_factory=list)
    protected: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Removal:
    """A version that was deleted, and what depended `on` it. `finished`: somebody had begun, and this was the rest."""

    ref: ModelRef
    files: int
    on: Dependents
    finished: bool = False


def delete(
    store: Store, model: str, *, force: bool = False, announce: Callable[[str], None] = lambda text: None
) -> Removal:
    """Delete a version of a model, its files and all. Its number is never given again.

    Args:
        store: the library.
        model: `name@3` or `name@alias`.
        force: even if an alias other than `latest` means it.
        announce: told how an open reference was understood.

    Raises:
        RequestError: there is no such version, it is the package's, or an alias means it.
    """
    ref = _half_deleted(store, model)
    if ref is not None:
        return Removal(ref, remove(ref), Dependents(), finished=True)
    ref = resolve(store, model, announce)
    on = dependents(ref)
    held = [alias for alias in on.aliases if alias != LATEST]
    if held and not force:
        words = ", ".join(f"{alias} (protected)" if alias in on.protected else alias for alias in held)
        raise RequestError(
            f"An alias means {ref}",
            got=words,
            fix=f"let it mean another version first (xtlray models promote), or add --force: then {held[0]} means none",
        )
    store.create_json(deletion_key(ref.name, ref.version), {"who": user(), "when": now()})
    files = remove(ref)
    for alias in sorted({*_aliases(ref)[0]} - {*on.aliases}):
        log.warning("%s@%s was moved to %s while that was deleted: it means no model now", ref.name, alias, ref)
    return Removal(ref, files, on)


def _half_deleted(store: Store, model: str) -> ModelRef | None:
    """The version, if somebody began to delete it and did not get to the end. Raises `RequestError` as `resolve`."""
    name, suffix = parse_model(model)
    if name.startswith("builtin/"):
        raise RequestError("The models of the package cannot be deleted", got=model, fix="leave it unused")
    if suffix is None:
        raise RequestError("Which version is meant is not said", got=model, fix=f"write {name}@3")
    if not suffix.isdecimal():
        return None
    ref = ModelRef(store, name, int(suffix))
    return ref if deletion(ref) is not None and store.list(ref.folder) else None


def remove(ref: ModelRef) -> int:
    """Card, then files; returns how many there were. It can be done again at any time by anybody."""
    index.note_deleted(ref.store, ref.name, ref.version)
    ref.store.delete([ref.card_key])
    files = len(ref.store.list(ref.folder))
    ref.store.delete_folder(ref.folder)
    return files


def dependents(ref: ModelRef) -> Dependents:
    """What names a version."""
    aliases, protected = _aliases(ref)
    return Dependents(aliases, protected, _models(ref), sorted(_results(ref)))


def _aliases(ref: ModelRef) -> tuple[list[str], list[str]]:
    """The aliases that mean it, and which of them are protected."""
    meaning, protected = [], []
    for alias in aliases_of(ref.store, ref.name):
        try:
            entry = newest_entry(ref.store, ref.name, alias)
        except StoreError as error:
            log.warning("%s@%s is passed over: %s", ref.name, alias, error)
            continue
        if entry is not None and entry[1].version == ref.version:
            meaning.append(alias)
            protected += [alias] if entry[1].protected else []
    return [*meaning, *([LATEST] if latest(ref.store, ref.name) == ref else [])], protected


def _models(ref: ModelRef) -> list[str]:
    """The models that were carried over from it, directly or from one that was."""
    from xtlray.registry.reading import all_rows  # imports pyarrow

    try:
        rows = all_rows(ref.store, log.info).select(["name", "version", "source"]).to_pylist()
    except StoreGoneError:
        raise
    except StoreError as error:
        log.warning("which models were carried over from %s cannot be told: %s", ref, error)
        return []
    children: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for source in (row["source"] or "").split("+"):
            children[source].add(f"{row['name']}@{row['version']}")
    found: set[str] = set()
    new = {str(ref)}
    while new:
        new = {child for each in new for child in children[each]} - found - {str(ref)}
        found |= new
    return sorted(found)


def _results(ref: ModelRef) -> Iterator[str]:
    """The results of its run that are published as it."""
    try:
        run = ref.card().run
    except StoreError as error:
        log.warning("whose result %s is cannot be told: %s", ref, error)
        return
    if not re.fullmatch(PART, run):  # no key of a run of ours
        return
    for _, found in decisions(ref.store, decision_of_run(run, ref.name)):
        if found and found.get("version") == ref.version and found.get("result"):
            yield f"runs/{run}/results/transfer/{found['result']}"
