"""Models between stores and plain folders: pull, push, copy.

A copy has the card of its model, with its run, lineage and figures: only name and version are those of its place, and
`copied_from` says whose it was. It is published as any version is, its content once under a name, however often and by
however many it is tried.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xtlray.errors import RequestError, StoreError, WorkError
from xtlray.names import check_model_name
from xtlray.nn.limits import MOST_CARD_BYTES, MOST_MODEL_BYTES
from xtlray.records import ModelCard
from xtlray.registry.checks import check_card
from xtlray.registry.publishing import Purpose, publish_once
from xtlray.registry.seal import CARD, SEAL, seal_of
from xtlray.registry.versions import ModelRef, deletion, read_card
from xtlray.store import Store, canonical_json

_OF_ITS_PLACE = ("name", "version", "copied_from", "schema_version")  # in a card
_AT_ONCE = 500  # cards that are held in memory


@dataclass(frozen=True)
class Pulled:
    """A model in a folder. `new` is False where the very same lay there already."""

    ref: ModelRef
    folder: Path
    files: int
    bytes: int
    new: bool


@dataclass(frozen=True)
class Copied:
    """A model that was copied as `ref`. `new` is False where its content was there already, as that."""

    ref: ModelRef
    copied_from: str
    new: bool


# --- to a folder -----------------------------------------------------------------------------------------------------


def pull(ref: ModelRef, folder: Path) -> Pulled:
    """Write a model's files and its `card.json` to a folder, all of them or none.

    Args:
        ref: the model.
        folder: is made; it may be there if it is empty, or holds exactly this.

    Raises:
        RequestError: something else lies there.
        StoreError: a file of the model is missing or altered, or its card names none that a folder should hold.
        WorkError: the folder cannot be written.
    """
    from xtlray.registry.model import read_files

    card, card_bytes, _ = ref.read_card()
    files = {**read_files(ref, card), CARD: card_bytes}
    size = sum(map(len, files.values()))
    try:
        new = not _holds(folder, files)
        if new:
            _write(folder, files)
    except OSError as error:
        raise WorkError("The folder cannot be written", got=f"{folder}: {error.strerror or error}") from error
    return Pulled(ref, folder, len(files), size, new)


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether exactly these files lie there. Raises `RequestError` where anything else does."""
    if not os.path.lexists(folder):
        return False
    if not folder.is_symlink() and folder.is_dir():
        there = sorted(os.listdir(folder))
        if not there:
            return False
        paths = [folder / name for name in there]
        plain = all(path.is_file() and not path.is_symlink() for path in paths)
        if plain and there == sorted(files) and all(path.read_bytes() == files[path.name] for path in paths):
            return True
    raise RequestError(
        "Something else lies in the way",
        got=str(folder),
        allowed="a folder that is empty or not there",
        fix="name another folder, or remove this one first",
    )


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Beside it first, then in its place at once: whoever looks sees all or nothing, however this ends."""
    folder = Path(os.path.abspath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name[:80]}.{uuid.uuid4().hex[:8]}.part"
    part.mkdir()
    try:
        for name, data in files.items():
            (part / name).write_bytes(data)
        os.rename(part, folder)  # fails where something has come to lie there
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


# --- from a folder ---------------------------------------------------------------------------------------------------


def push(store: Store, folder: Path, name: str | None = None) -> Copied:
    """Publish the model in a folder, such as `pull` writes, as a new version.

    Nothing is believed: names, links, sizes and hashes are checked, and that the model can be loaded.

    Args:
        store: the library.
        folder: holds `card.json` and the files that it names, nothing else.
        name: of the model there; by default the card's.

    Raises:
        RequestError: the folder is not that of a model, or its model cannot be loaded.
    """
    card, files = read_folder(folder)
    name = _target(name, card)
    with tempfile.TemporaryDirectory(prefix="xtlray-push-") as scratch:
        place = ModelRef(Store.open(scratch), card.name, card.version)
        place.store.publish(place.folder, files, CARD, card.as_json())
        try:
            _load(place)
        except StoreError as error:
            raise _no_model(folder, str(error)) from error
    return _publish(store, name, card, files, f"{card.name}@{card.version}")


def read_folder(folder: Path) -> tuple[ModelCard, dict[str, bytes]]:
    """Card and files of a model in a folder. Raises `RequestError` where they are not what they should be."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _no_model(folder, f"{error.strerror or error}") from error
    for entry in entries:
        if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
            raise _no_model(folder, f"{entry.name!a} is no plain file")
    names = {entry.name for entry in entries}
    if CARD not in names:
        raise _no_model(folder, f"it has no {CARD}")
    try:
        data = _read(folder / CARD, MOST_CARD_BYTES)
        card = read_card(data, CARD)
        check_card(card, CARD)
        check_model_name(card.name)
    except (StoreError, RequestError) as error:
        raise _no_model(folder, str(error)) from error
    if card.version < 1:
        raise _no_model(folder, f"the card's version is {card.version}")
    if SEAL in names and _read(folder / SEAL, MOST_CARD_BYTES) != seal_of(data):
        raise _no_model(folder, f"{CARD} is not the one that {SEAL} is of")
    strange, missing = sorted(names - {*card.files, CARD, SEAL}), sorted({*card.files} - names)
    if strange or missing:
        which = strange[0] if strange else missing[0]
        raise _no_model(folder, f"{which!a} is {'not named in its card' if strange else 'missing'}")
    return card, _checked(folder, card)


def _checked(folder: Path, card: ModelCard) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    room = MOST_MODEL_BYTES
    for name, expected in card.files.items():
        data = _read(folder / name, min(room, card.sizes.get(name, room)))
        room -= len(data)
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise _no_model(folder, f"{name}: SHA-256 {found[:12]}…, not {expected[:12]}…")
        files[name] = data
    return files


def _read(path: Path, most: int) -> bytes:
    """A plain file of at most `most` bytes. Raises `RequestError`."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > most:
                raise _no_model(path.parent, f"{path.name} is no plain file of at most {most / 1e6:.0f} MB")
            return file.read(most + 1)
    except OSError as error:
        raise _no_model(path.parent, f"{path.name}: {error.strerror or error}") from error


def _no_model(folder: Path, why: str) -> RequestError:
    return RequestError(
        "The folder holds no model that can be pushed",
        got=f"{folder}: {why}",
        allowed=f"{CARD}, the files that it names, each with its SHA-256, and nothing else",
        fix="pull the model again: xtlray models pull MODEL FOLDER",
    )


# --- between stores --------------------------------------------------------------------------------------------------


def copy(ref: ModelRef, to: Store, name: str | None = None) -> Copied:
    """Publish a model in another store, or under another name, as a new version.

    Args:
        ref: the model.
        to: the other library.
        name: of the model there; by default the same.

    Raises:
        RequestError: the name cannot be a model's, or is the package's.
        StoreError: the model is damaged.
    """
    from xtlray.registry.model import read_files

    card = ref.card()
    name = _target(name, card)
    _load(ref)
    return _publish(to, name, card, read_files(ref, card), whence(ref))


def whence(ref: ModelRef) -> str:
    """What the card of a copy says of where it is from: the version, and of an object store its URL.

    That holds a bucket and a prefix, no key. A folder of somebody's machine is not told.
    """
    url = ref.store.url
    told = ref.store.local_path is None and not {"@", "?"} & {*url}  # a store's URL never has those
    return f"{ref} in {url}" if told else str(ref)


def _target(name: str | None, card: ModelCard) -> str:
    name = name or card.name
    if name.startswith("builtin/"):
        raise RequestError(
            "Names under builtin/ belong to the package", got=name, fix="give the copy a name of its own"
        )
    return check_model_name(name)


def _load(ref: ModelRef) -> None:
    """That the model can be loaded: what nobody could use must not be spread. Raises `StoreError`."""
    from xtlray.registry.model import open_model

    open_model(ref)


def _publish(store: Store, name: str, card: ModelCard, files: Mapping[str, bytes], copied_from: str) -> Copied:
    content = content_of(card)
    there = _find([ModelRef(store, name, n) for n in reversed(store.numbers(f"models/{name}"))], content)
    if there is not None:
        return Copied(there, copied_from, new=False)

    def of_this_place(version: int, hashes: dict[str, str]) -> ModelCard:
        return card.model_copy(update={"name": name, "version": version, "copied_from": copied_from, "files": hashes})

    purpose = Purpose(f"models/{name}/aliases/.copies/{content}", {"copy": content})
    made = publish_once(store, name, purpose, files, of_this_place)
    if _find([made], content) is None and deletion(made) is None:  # one that is deleted by now was published
        raise StoreError(
            "The version that this model was published as before is damaged",
            got=str(made),
            fix=f"delete it (xtlray models delete {made} --force), then do this again",
        )
    return Copied(made, copied_from, new=True)


def content_of(card: ModelCard) -> str:
    """A hash of what a card says, its files' hashes included, but for where they lie: a model and its copies agree."""
    value = {key: each for key, each in card.as_json().items() if key not in _OF_ITS_PLACE}
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _find(refs: Sequence[ModelRef], content: str) -> ModelRef | None:
    """The first of some versions, in one store, that has that content."""
    for start in range(0, len(refs), _AT_ONCE):
        some = refs[start : start + _AT_ONCE]
        for ref, data in zip(some, some[0].store.get_all([ref.card_key for ref in some]), strict=True):
            try:
                if data is not None and content_of(read_card(data, ref.card_key)) == content:
                    return ref
            except StoreError:
                continue  # a damaged card is not this one
    return None
