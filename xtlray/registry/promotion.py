"""Moving aliases: by a person (`promote`), and `best` by the validation errors of what is published."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from xtlray.errors import RequestError, StoreError
from xtlray.names import check_alias, parse_model
from xtlray.registry.aliases import AliasEntry, add_entry, entries_of, newest_entry, user
from xtlray.registry.versions import ModelRef, resolve
from xtlray.runs import now
from xtlray.store import Store
from xtlray.strict import without_control

log = logging.getLogger("xtlray.registry")
BEST = "best"
_LONGEST_REASON = 500


@dataclass(frozen=True)
class Promotion:
    """What became of an alias.

    Attributes:
        ref: the version that it means now.
        alias: the word.
        before: the version that it meant before, None where there was no such alias.
        protected: whether it moves from here only by force.
        moved: whether anything was written.
    """

    ref: ModelRef
    alias: str
    before: int | None
    protected: bool
    moved: bool


def promote(
    store: Store,
    model: str,
    alias: str,
    *,
    protect: bool | None = None,
    force: bool = False,
    reason: str = "",
    announce: Callable[[str], None] = lambda text: None,
) -> Promotion:
    """Let `alias` mean a version of a model. What it meant before stays in its history.

    Args:
        store: the library.
        model: `name@3` or `name@alias`.
        alias: the word, such as `production`; any but `latest`.
        protect: whether it is to move on only by force; None leaves that as it is.
        force: move it though it is protected.
        reason: why, for the history.
        announce: told how an open reference was understood.

    Raises:
        RequestError: there is no such version, or it is the package's; the alias is malformed, or protected.
        StoreError: the version was deleted meanwhile.
    """
    check_alias(alias)
    ref = _named_version(store, model, announce)
    while True:
        number, held = newest_entry(store, ref.name, alias) or (0, None)
        was = held is not None and held.protected
        protected = was if protect is None else protect
        if held is not None and held.version == ref.version and protected == was:
            return Promotion(ref, alias, held.version, was, moved=False)
        if held is not None and held.version != ref.version and was and not force:
            raise _protected(ref, alias, held)
        before = held.version if held else None
        # Exactly the next number: whoever was faster has changed what this entry says of the one before.
        if add_entry(store, ref.name, alias, number, _by_hand(ref, alias, before, reason, protected)):
            break
    if not ref.exists():
        raise StoreError(
            f"{ref} was deleted while {alias} was moved to it",
            got=f"{ref.name}@{alias} means @{ref.version}",
            fix="let it mean another version",
        )
    return Promotion(ref, alias, before, protected, moved=True)


def _protected(ref: ModelRef, alias: str, held: AliasEntry) -> RequestError:
    return RequestError(
        f"The alias {ref.name}@{alias} is protected",
        got=f"{ref}; it means @{held.version} since {held.when}, by {held.who or 'unknown'}",
        fix="add --force to move it all the same",
    )


def _named_version(store: Store, model: str, announce: Callable[[str], None]) -> ModelRef:
    name, suffix = parse_model(model)
    if name.startswith("builtin/"):
        raise RequestError(
            "The models of the package cannot be given aliases",
            got=model,
            fix=f"copy it first: xtlray models copy {model} --to URL --name NAME",
        )
    if suffix is None:
        raise RequestError(
            "Which version is meant is not said", got=model, fix=f"write {name}@3, or {name}@latest for the newest"
        )
    return resolve(store, model, announce)


def _by_hand(ref: ModelRef, alias: str, before: int | None, reason: str, protected: bool) -> AliasEntry:
    """The entry, with the error of the version if it has been `best` before: what comes later is compared with that."""
    entry = AliasEntry(
        version=ref.version,
        before=before,
        reason=" ".join(without_control(reason).split())[:_LONGEST_REASON],
        who=user(),
        when=now(),
        protected=protected,
    )
    if alias != BEST:
        return entry
    for old in reversed(entries_of(ref.store, ref.name, BEST)):
        if old.version == ref.version and old.val_mae is not None:
            return entry.model_copy(update={"val_mae": old.val_mae, "split_id": old.split_id, "protocol": old.protocol})
    return entry


def move_best(store: Store, ref: ModelRef, val_mae: float, split_id: str, protocol: str) -> bool:
    """Let `best` mean `ref` if its validation error is lower than the present best's; returns whether it moved to it.

    Errors are comparable only on the same validation rows by the same protocol; under new ones it moves, and the
    history says why. One that is protected does not move, and the log says so. Where the present best was deleted, it
    moves to `ref` or, unless that is lower, back to the newest one before it that is there. It never moves to what was
    deleted itself since it was published.
    """
    if not ref.exists():
        return False
    mine = AliasEntry(
        version=ref.version,
        reason="first",
        who=user(),
        when=now(),
        val_mae=val_mae,
        split_id=split_id,
        protocol=protocol,
    )
    while True:
        number, held = newest_entry(store, ref.name, BEST) or (0, None)
        entry = mine if held is None else _follows(store, ref.name, held, mine)
        if entry is None:
            return False
        if held is not None and held.protected:
            where = f"{ref.name}@{BEST}", held.version, entry.version, entry.reason
            log.warning("%s is protected and stays @%d; else it would mean @%d now: %s", *where)
            return False
        # Exactly the next number: whoever was faster has changed what we must compare with.
        if add_entry(store, ref.name, BEST, number, entry):
            return entry.version == ref.version


def _follows(store: Store, name: str, held: AliasEntry, mine: AliasEntry) -> AliasEntry | None:
    """What is to follow the entry that holds, now that there is `mine`; None where that stays."""
    if ModelRef(store, name, held.version).exists():
        why = _why_better(held, mine)
        # A run that is resumed asks again: what has been best once does not come back over what followed it.
        if why is None or any(old.version == mine.version for old in entries_of(store, name, BEST)):
            return None
        return mine.model_copy(update={"before": held.version, "reason": why})
    history = entries_of(store, name, BEST)
    left = next((old for old in reversed(history) if ModelRef(store, name, old.version).exists()), None)
    entry, why = mine, "none that was best before it is there"
    if left is not None:
        better = None if any(old.version == mine.version for old in history) else _why_better(left, mine)
        entry, why = (left, f"version {left.version} was best before it") if better is None else (mine, better)
    reason = f"version {held.version}, which was best, was deleted: {why}"
    now_and_us = {"before": held.version, "who": mine.who, "when": mine.when, "protected": False}
    return entry.model_copy(update={"reason": reason, **now_and_us})


def _why_better(held: AliasEntry, mine: AliasEntry) -> str | None:
    """Why `best` moves on from an entry; None where it does not."""
    if held.val_mae is None or mine.val_mae is None:
        return f"version {held.version} was chosen by a person: it has no validation error to compare with"
    if (held.split_id, held.protocol) != (mine.split_id, mine.protocol):
        return "another split or protocol: errors cannot be compared with the version before"
    if mine.val_mae >= held.val_mae:
        return None
    return f"validation MAE {mine.val_mae:.6g} is below {held.val_mae:.6g} of version {held.version}"
