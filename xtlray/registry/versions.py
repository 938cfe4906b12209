"""Names, versions and aliases of models.

`models/<name>/aliases/.versions/<n>.json` takes a number, for good: it lies outside of the version, so that a number
is never given again, whatever is deleted. The version counts once its `card.json` is there, which is written last and
never changed. An alias is a log whose highest entry
holds; `latest` is computed: the highest complete version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xtlray.errors import MissingKeyError, RequestError, StoreError, unknown
from xtlray.names import check_model_name, parse_model
from xtlray.records import ModelCard
from xtlray.runs import now
from xtlray.store import Store, builtin

CARD = "card.json"
_LOOK_BACK = 32


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

    def card(self) -> ModelCard:
        key = f"{self.folder}/{CARD}"
        return ModelCard.read(self.store.get_json(key), key)

    def card_hash(self) -> str:
        """SHA-256 of the card, which holds those of all files: it names the model's content."""
        return hashlib.sha256(self.store.get(f"{self.folder}/{CARD}")).hexdigest()


def store_of(store: Store, name: str) -> Store:
    """Where models of that name lie: `builtin/…` in the package."""
    return builtin() if name.startswith("builtin/") else store


def versions_of(store: Store, name: str) -> list[int]:
    """The complete versions of a model, ascending."""
    home = store_of(store, name)
    return [n for n in home.numbers(f"models/{name}") if home.exists(f"models/{name}/{n}/{CARD}")]


def resolve(store: Store, text: str, announce: Callable[[str], None] = lambda text: None) -> ModelRef:
    """The version that `name`, `name@3` or `name@alias` means.

    Args:
        store: the library.
        text: what the user wrote; without a suffix it means `@latest`, which is announced.
        announce: told how an open reference was understood.

    Raises:
        RequestError: a malformed name; no such model, version or alias (with the nearest known).
    """
    name, suffix = parse_model(text)
    versions = versions_of(store, name)
    if not versions:
        raise unknown("model", name, model_names(store), fix="see `xtlray models list`")
    home = store_of(store, name)
    if suffix is None or suffix == "latest":
        ref = ModelRef(home, name, versions[-1])
    elif suffix.isdecimal():
        if int(suffix) not in versions:
            raise RequestError(
                f"The model {name} has no such version", got=f"@{suffix}", allowed=", ".join(map(str, versions))
            )
        ref = ModelRef(home, name, int(suffix))
    else:
        entry = home.newest(f"models/{name}/aliases/{suffix}")
        if entry is None:
            known = ["latest", *aliases_of(store, name)]
            raise unknown(f"alias of {name}", suffix, known, fix=f"see `xtlray models show {name}`")
        ref = ModelRef(home, name, int(entry[1]["version"]))
        if ref.version not in versions:
            raise RequestError(
                f"The alias {text} means a version that is not there any more",
                got=f"@{ref.version}",
                allowed=", ".join(map(str, versions)),
                fix=f"name one, such as {name}@{versions[-1]}",
            )
    if suffix is None or not suffix.isdecimal():
        announce(f"{text} is {ref}")
    return ref


def model_names(store: Store) -> list[str]:
    """Names of all models with at least one complete version, those of the package too."""
    return sorted({name for home in (store, builtin()) for name, _ in complete_versions(home)})


def complete_versions(store: Store) -> list[tuple[str, int]]:
    """All complete versions in one store, as name and version."""
    found = []
    for key in store.list("models"):
        parts = key.split("/")
        if parts[-1] == CARD and parts[-2].isdecimal():
            found.append(("/".join(parts[1:-2]), int(parts[-2])))
    return sorted(found)


def publish(
    store: Store,
    run: str,
    name: str,
    result: str | None,
    files: Mapping[str, bytes],
    card: Callable[[int, dict[str, str]], ModelCard],
) -> ModelRef:
    """Publish a model of a run, once: a run that is resumed fills the version that it had begun.

    Args:
        store: the library.
        run: id of the run.
        name: of the model.
        result: which of the run's results it is, for the leaderboard.
        files: its files.
        card: makes the card from the version and each file's SHA-256.
    """
    check_model_name(name)
    if name.startswith("builtin/"):
        raise RequestError("Names under builtin/ belong to the package", got=name, fix="choose another name")
    decision = _decision(run, name)
    hashes = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    if not store.exists(decision):
        version = _place(store, run, name, files)
        content = card(version, hashes).as_json()
        # Of two drivers of one run, whose weights may differ in the last digit, the first to get here decides. What
        # it wrote is complete but for the card, and the card is in the decision: anyone can finish the work.
        store.create_json(decision, {"name": name, "version": version, "result": result, "card": content})
    decided = store.get_json(decision)
    ref = ModelRef(store, name, int(decided["version"]))
    if not store.exists(f"{ref.folder}/{CARD}"):
        _refill(ref, decided["card"]["files"], files, hashes)
        store.create_json(f"{ref.folder}/{CARD}", decided["card"])
    return ref


def _refill(ref: ModelRef, wanted: Mapping[str, str], files: Mapping[str, bytes], hashes: Mapping[str, str]) -> None:
    """Put back what was deleted of a version since it was decided on, so that no card stands without its files."""
    for file in sorted(wanted):
        if ref.store.exists(f"{ref.folder}/{file}"):
            continue
        if hashes.get(file) != wanted[file]:
            raise StoreError(
                "A file of a version was deleted, and what was trained now differs from it",
                got=f"{ref.folder}/{file}",
                fix="start the job anew with --again; it is published as another version",
            )
        ref.store.put_once(f"{ref.folder}/{file}", files[file])


def published(store: Store, run: str, name: str) -> ModelRef | None:
    """The complete version of that name that a run has published, if it has."""
    try:
        ref = ModelRef(store, name, int(store.get_json(_decision(run, name))["version"]))
    except MissingKeyError:
        return None
    return ref if store.exists(f"{ref.folder}/{CARD}") else None


def _decision(run: str, name: str) -> str:
    return f"runs/{run}/published/{name}.json"


def _place(store: Store, run: str, name: str, files: Mapping[str, bytes]) -> int:
    """Write the files where no others lie; returns the version, one that the run had begun where they fit in."""
    begun = _claimed(store, run, name)
    while True:
        version = begun.pop() if begun else _claim(store, run, name)
        if all(store.put_once(f"models/{name}/{version}/{file}", files[file]) for file in sorted(files)):
            return version


def _claim(store: Store, run: str, name: str) -> int:
    """A number that was never given: above all that were claimed, and above all that lie there."""
    highest = max(store.numbers(f"models/{name}"), default=0)
    return store.claim(_claims(name), "{n}.json", {"run": run}, above=highest)


def _claims(name: str) -> str:
    return f"models/{name}/aliases/.versions"  # no alias begins with a dot


def _claimed(store: Store, run: str, name: str) -> list[int]:
    """The numbers among the newest that attempts of the run took, but did not publish, ascending."""
    newest = store.numbers(_claims(name))[-_LOOK_BACK:]  # whoever was cut off longer ago leaves a gap
    ours = [n for n in newest if store.get_json(f"{_claims(name)}/{n}.json").get("run") == run]
    return [n for n in ours if not store.exists(f"models/{name}/{n}/{CARD}")]


def aliases_of(store: Store, name: str) -> list[str]:
    """The aliases that a model has or had, `latest` not among them."""
    found = store_of(store, name).children(f"models/{name}/aliases")
    return [alias for alias in found if not alias.startswith(".")]


def alias_history(store: Store, name: str, alias: str) -> list[dict[str, Any]]:
    """The entries of an alias' log, oldest first."""
    folder = f"models/{name}/aliases/{alias}"
    return [store.get_json(f"{folder}/{n}.json") for n in store_of(store, name).numbers(folder)]


def move_best(store: Store, ref: ModelRef, val_mae: float, split_id: str, protocol: str) -> bool:
    """Let `best` mean `ref` if its validation error is lower than the present best's; returns whether it moved.

    Errors are comparable only on the same validation rows by the same protocol; under new ones it moves, and the
    log says why.
    """
    folder = f"models/{ref.name}/aliases/best"
    while True:
        before = store.newest(folder)
        reason = "first"
        if before is not None:
            entry = before[1]
            same = (entry["split_id"], entry["protocol"]) == (split_id, protocol)
            if same and val_mae >= entry["val_mae"]:
                return False
            # A run that is resumed asks again: what has been best once does not come back over what followed it.
            if any(old["version"] == ref.version for old in alias_history(store, ref.name, "best")):
                return False
            reason = (
                f"validation MAE {val_mae:.6g} is below {entry['val_mae']:.6g} of version {entry['version']}"
                if same
                else "another split or protocol: errors cannot be compared with the version before"
            )
        value = {
            "version": ref.version,
            "val_mae": val_mae,
            "split_id": split_id,
            "protocol": protocol,
            "reason": reason,
            "when": now(),
        }
        # Exactly the next number: whoever was faster has changed what we must compare with.
        if store.create_json(f"{folder}/{before[0] + 1 if before else 1}.json", value):
            return True
