"""Names and versions of models: what is there, and what a name means.

A version `models/<name>/<n>/` counts once its `card.json` is there, which is written last and never changed (see
`publishing.py`). `models/<name>/aliases/.deleted/<n>.json` says who deleted one. `latest` is computed: the highest
complete version; other aliases are logs (`aliases.py`).
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from xtlray.errors import MissingKeyError, RequestError, StoreError, StoreGoneError, unknown
from xtlray.names import parse_model
from xtlray.nn.limits import MOST_CARD_BYTES
from xtlray.records import ModelCard
from xtlray.registry.aliases import LATEST, aliases_of, newest_entry
from xtlray.registry.seal import CARD, read_card_bytes
from xtlray.store import Store, builtin
from xtlray.strict import in_short, read_json

log = logging.getLogger("xtlray.registry")
_SHOWN, _NEAREST = 20, 5  # versions, in a message
_AT_ONCE = 16  # looks into the store


@dataclass(frozen=True)
class ModelRef:
    """A version of a model that exists."""

    store: Store
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def folder(self) -> str:
        return f"models/{self.name}/{self.version}"

    @property
    def card_key(self) -> str:
        return f"{self.folder}/{CARD}"

    def exists(self) -> bool:
        """Whether it is complete."""
        return self.store.exists(self.card_key)

    def card(self) -> ModelCard:
        """Raises `StoreError` where it is missing, damaged, or not the one that was published."""
        return self.read_card()[0]

    def read_card(self) -> tuple[ModelCard, bytes, bool]:
        """The card, its bytes, and whether it is sealed (`seal.py`). Raises as `card` does."""
        data, sealed = read_card_bytes(self.store, self.folder)
        card = read_card(data, self.card_key)
        if (card.name, card.version) != (self.name, self.version):
            found = in_short(f"{card.name}@{card.version}")
            raise StoreError("A model's card speaks of another model", got=f"{self.card_key}: {found}")
        return card, data, sealed

    def card_hash(self) -> str:
        """SHA-256 of the card, which holds those of all files: it names the model's content."""
        return hashlib.sha256(self.store.get(self.card_key)).hexdigest()


def read_card(data: bytes, where: str) -> ModelCard:
    """A card of its bytes, which lie `where`. Raises `StoreError` where they are not those of a card."""
    return ModelCard.read(read_json(data, where, MOST_CARD_BYTES, "A model's card"), where)


# --- what is there ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contents:
    """What one listing of a store's models shows.

    Attributes:
        versions: the complete versions, as name and number, sorted.
        aliases: of each name, each alias and the number of its newest entry.
    """

    versions: list[tuple[str, int]] = field(default_factory=list)
    aliases: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))


def contents(store: Store) -> Contents:
    """All complete versions and aliases in one store."""
    found = Contents()
    for key in store.list("models"):
        match key.split("/")[1:]:
            case [*name, version, file] if file == CARD and version.isdecimal() and name:
                found.versions.append(("/".join(name), int(version)))
            case [*name, "aliases", alias, entry] if name and not alias.startswith("."):
                number = entry.removesuffix(".json")
                if number.isdecimal():
                    held = found.aliases["/".join(name)]
                    held[alias] = max(held.get(alias, 0), int(number))
    found.versions.sort()
    return found


def complete_versions(store: Store) -> list[tuple[str, int]]:
    """All complete versions in one store, as name and version."""
    return contents(store).versions


def model_names(store: Store) -> list[str]:
    """Names of all models with at least one complete version, those of the package too."""
    return sorted({name for home in (store, builtin()) for name, _ in complete_versions(home)})


def store_of(store: Store, name: str) -> Store:
    """Where models of that name lie: `builtin/…` in the package."""
    return builtin() if name.startswith("builtin/") else store


def versions_of(store: Store, name: str) -> list[int]:
    """The complete versions of a model, ascending."""
    home = store_of(store, name)
    refs = [ModelRef(home, name, n) for n in home.numbers(f"models/{name}")]
    if len(refs) < 2:
        return [ref.version for ref in refs if ref.exists()]
    with ThreadPoolExecutor(min(_AT_ONCE, len(refs))) as pool:
        return [ref.version for ref, there in zip(refs, pool.map(ModelRef.exists, refs), strict=True) if there]


# --- what a name means -----------------------------------------------------------------------------------------------


def resolve(store: Store, text: str, announce: Callable[[str], None] = lambda text: None) -> ModelRef:
    """The version that `name`, `name@3` or `name@alias` means.

    Args:
        store: the library.
        text: what the user wrote; without a suffix it means `@latest`, which is announced.
        announce: told how an open reference was understood.

    Raises:
        RequestError: a malformed name; no such model, version or alias (with the nearest known).
        StoreError: what the alias means cannot be read.
    """
    name, suffix = parse_model(text)
    home = store_of(store, name)
    if suffix is not None and suffix.isdecimal():
        ref = ModelRef(home, name, int(suffix))
        if ref.exists():
            return ref
        raise _no_version(store, ref)
    if suffix is None or suffix == LATEST:
        newest = latest(home, name)
        if newest is None:
            raise _no_model(store, name)
    else:
        entry = newest_entry(home, name, suffix)
        if entry is None:
            if latest(home, name) is None:
                raise _no_model(store, name)
            known = [LATEST, *aliases_of(home, name)]
            raise unknown(f"alias of {name}", suffix, known, fix=f"see `xtlray models show {name}`")
        newest = ModelRef(home, name, entry[1].version)
        if not newest.exists():
            raise _no_version(store, newest, text)
    announce(f"{text} is {newest}")
    return newest


def latest(home: Store, name: str) -> ModelRef | None:
    """The highest complete version in the store where it lies; None where there is none."""
    refs = (ModelRef(home, name, n) for n in reversed(home.numbers(f"models/{name}")))
    return next((ref for ref in refs if ref.exists()), None)


def _no_model(store: Store, name: str) -> RequestError:
    return unknown("model", name, _names_by_index(store) or model_names(store), fix="see `xtlray models list`")


def _names_by_index(store: Store) -> list[str]:
    """What `model_names` finds, without a look at the whole store; nothing where the index is missing or damaged."""
    from xtlray.registry.index import newest
    from xtlray.registry.reading import all_rows  # imports pyarrow

    try:
        return sorted({*all_rows(store)["name"].to_pylist()}) if newest(store) else []
    except StoreGoneError:
        raise
    except StoreError as error:
        log.warning("%s", error)
        return []


def _no_version(store: Store, ref: ModelRef, alias: str | None = None) -> RequestError:
    """That a version is not there, with those that are; of one that was deleted, who did it."""
    versions = versions_of(store, ref.name)
    if not versions:
        return _no_model(store, ref.name)
    deleted = deletion(ref)
    got = f"@{ref.version}" + (f", deleted {deleted.get('when')} by {deleted.get('who')}" if deleted else "")
    what = f"The model {ref.name} has no such version" + " any more" * bool(deleted)
    if alias is not None:
        what = f"The alias {alias} means a version that is not there any more"
    fix = f"name one, such as {ref.name}@{versions[-1]}" if alias or deleted else None
    allowed = ", ".join(map(str, versions))
    if len(versions) > _SHOWN:
        near = sorted(sorted(versions, key=lambda version: abs(version - ref.version))[:_NEAREST])
        allowed = f"{len(versions)} versions up to {versions[-1]}; nearest are {', '.join(map(str, near))}"
    return RequestError(what, got=got, allowed=allowed, fix=fix)


def deletion(ref: ModelRef) -> dict[str, Any] | None:
    """`who` deleted a version, `when` and the `card` that it had; None for one that nobody has deleted."""
    try:
        found = ref.store.get_json(deletion_key(ref.name, ref.version))
    except MissingKeyError:
        return None
    return found if isinstance(found, dict) else {}


def deletion_key(name: str, version: int) -> str:
    """Where it is noted that a version was deleted."""
    return f"models/{name}/aliases/.deleted/{version}.json"  # no alias begins with a dot
