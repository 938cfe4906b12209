"""Publishing a version of a model, once: files first, then the card that makes them count.

`models/<name>/aliases/.versions/<n>.json` takes a number, for good: it lies outside of the version, so that a number
is never given again, whatever is deleted. Which version it became is decided by one create-once entry, kept by whoever
publishes: a run under `runs/<run>/published/`, a copy beside the aliases of its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from xtlray.errors import MissingKeyError, RequestError, StoreError
from xtlray.names import check_model_name
from xtlray.records import ModelCard
from xtlray.registry import index
from xtlray.registry.seal import SEAL, seal_of
from xtlray.registry.versions import CARD, ModelRef, deletion_key
from xtlray.store import NONCE, Store, canonical_json

_LOOK_BACK = 32


@dataclass(frozen=True)
class Purpose:
    """What is published once, however often and by however many it is tried.

    Attributes:
        place: where it is decided, without `.json`, which version of the name it is.
        owner: who takes a number, such as a run.
        extra: what else the decision says.
    """

    place: str
    owner: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def decided(self, store: Store, name: str) -> tuple[str, dict[str, Any] | None]:
        """The key of the decision that holds and what it says, None where none does.

        Where the version that was decided on has been deleted since, the next decision is to be made.
        """
        key, found = next(
            (key, found)
            for key, found in decisions(store, self.place)
            if found is None or not store.exists(deletion_key(name, int(found["version"])))
        )
        return key, found


def decisions(store: Store, place: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Key and content of each decision made in a place, in turn; at last the key of the next one, with None."""
    for turn in count(1):
        key = f"{place}.json" if turn == 1 else f"{place}/{turn}.json"
        try:
            yield key, store.get_json(key)
        except MissingKeyError:
            yield key, None
            return


def publish(
    store: Store,
    run: str,
    name: str,
    result: str | None,
    files: Mapping[str, bytes],
    card: Callable[[int, dict[str, str]], ModelCard],
) -> ModelRef:
    """Publish a model of a run, once: a run that is resumed fills the version that it had begun.

    One that was deleted since does not come back under its number: the run publishes it as another version.

    Args:
        store: the library.
        run: id of the run.
        name: of the model.
        result: which of the run's results it is, for the leaderboard.
        files: its files.
        card: makes the card from the version and each file's SHA-256.
    """
    return publish_once(store, name, _of_run(run, name, result), files, card)


def publish_once(
    store: Store,
    name: str,
    purpose: Purpose,
    files: Mapping[str, bytes],
    card: Callable[[int, dict[str, str]], ModelCard],
) -> ModelRef:
    """Publish what is made for one purpose: files, then the card; see `publish`. Killed half-way it shows nothing.

    Raises:
        RequestError: the name cannot be a model's, or is the package's.
        StoreError: a file of the version that had been begun is gone and cannot be made again.
    """
    check_model_name(name)
    if name.startswith("builtin/"):
        raise RequestError("Names under builtin/ belong to the package", got=name, fix="choose another name")
    hashes = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    key, decided = purpose.decided(store, name)
    if decided is None:
        version = _place(store, purpose.owner, name, files)
        content = card(version, hashes).as_json()
        # Of two drivers of one run, whose weights may differ in the last digit, the first to get here decides. What
        # it wrote is complete but for the card, and the card is in the decision: anyone can finish the work.
        store.create_json(key, {"name": name, "version": version, **purpose.extra, "card": content})
        decided = store.get_json(key)
    ref = ModelRef(store, name, int(decided["version"]))
    if not ref.exists():
        sealed, wanted = canonical_json(decided["card"]), decided["card"]["files"]
        with index.publishing(store, name, ref.version):
            _refill(ref, wanted, files, hashes, seal_of(sealed))
            store.create(ref.card_key, sealed)
            try:
                # Again: what an attempt of long ago had begun may have been cleared away just then.
                _refill(ref, wanted, files, hashes, seal_of(sealed))
            finally:
                _keep_deleted(ref)
    return ref


def _keep_deleted(ref: ModelRef) -> None:
    """Whoever was slow may have written a card that another had published, and a third deleted: that is for good."""
    from xtlray.registry.removal import remove  # imports this module

    if ref.store.exists(deletion_key(ref.name, ref.version)):
        remove(ref)


def _refill(
    ref: ModelRef, wanted: Mapping[str, str], files: Mapping[str, bytes], hashes: Mapping[str, str], seal: bytes
) -> None:
    """The seal of the card, and what was deleted of a version since it was decided on: no card stands without them."""
    ref.store.ensure(f"{ref.folder}/{SEAL}", seal)
    for file in sorted({*wanted} - {*ref.store.children(ref.folder)}):
        if hashes.get(file) != wanted[file]:
            raise StoreError(
                "A file of a version was deleted, and what was trained now differs from it",
                got=f"{ref.folder}/{file}",
                fix="start the job anew with --again; it is published as another version",
            )
        ref.store.put_once(f"{ref.folder}/{file}", files[file])


def published(store: Store, run: str, name: str) -> ModelRef | None:
    """The complete version of that name that a run has published, if it has."""
    _, decided = _of_run(run, name, None).decided(store, name)
    ref = ModelRef(store, name, int(decided["version"])) if decided else None
    return ref if ref and ref.exists() else None


def decision_of_run(run: str, name: str) -> str:
    """Where a run notes, without `.json`, which version of a name it publishes."""
    return f"runs/{run}/published/{name}"


def _of_run(run: str, name: str, result: str | None) -> Purpose:
    return Purpose(decision_of_run(run, name), {"run": run}, {"result": result})


def _place(store: Store, owner: Mapping[str, Any], name: str, files: Mapping[str, bytes]) -> int:
    """Write the files where no others lie; returns the version, one that the owner had begun where they fit in."""
    begun = _claimed(store, owner, name)
    while True:
        version = begun.pop() if begun else _claim(store, owner, name)
        if all(store.put_once(f"models/{name}/{version}/{file}", files[file]) for file in sorted(files)):
            return version


def _claim(store: Store, owner: Mapping[str, Any], name: str) -> int:
    """A number that was never given: above all that were claimed, and above all that lie there."""
    highest = max(store.numbers(f"models/{name}"), default=0)
    return store.claim(_claims(name), "{n}.json", owner, above=highest)


def _claims(name: str) -> str:
    return f"models/{name}/aliases/.versions"  # no alias begins with a dot


def claim_key(name: str, version: int) -> str:
    """Where a number was taken, and by whom."""
    return f"{_claims(name)}/{version}.json"


def _claimed(store: Store, owner: Mapping[str, Any], name: str) -> list[int]:
    """The numbers among the newest that the owner took, but did not publish, ascending."""
    newest = store.numbers(_claims(name))[-_LOOK_BACK:]  # whoever was cut off longer ago leaves a gap
    found = store.get_all([claim_key(name, n) for n in newest])
    ours = [n for n, data in zip(newest, found, strict=True) if data is not None and _is_of(data, owner)]
    keys = [key for n in ours for key in (f"models/{name}/{n}/{CARD}", deletion_key(name, n))]
    over = store.get_all(keys)
    return [n for k, n in enumerate(ours) if over[2 * k] is None and over[2 * k + 1] is None]


def _is_of(data: bytes, owner: Mapping[str, Any]) -> bool:
    try:
        claim = json.loads(data)
    except ValueError:
        return False  # cut short by a power cut: nobody's
    return isinstance(claim, dict) and {key: claim[key] for key in claim if key != NONCE} == owner
