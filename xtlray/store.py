"""The object store: one URL holds everything, and this is the only code of ours that touches it.

A folder and an S3 bucket behave alike through obstore. Everything rests on one primitive that both keep exactly:
*create-once*, a put that fails where the key exists. From it come claims (who makes attempt 3?), logs (what does
`best` mean now?) and publishing (files first, the manifest that makes them count last). Nothing is overwritten.
A store out of reach is waited for (`patience.py`), in every call: then `StoreGoneError`.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError

from xtlray import credentials
from xtlray.backend import MISSING, Backend
from xtlray.errors import MissingKeyError, RequestError, StoreError
from xtlray.urls import absolute, path_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

DEFAULT_URL = "./xtlray-store"
ENVIRONMENT_VARIABLE = "XTLRAY_STORE"
BUILTIN_VARIABLE = "XTLRAY_BUILTIN"  # set where code has travelled without what it comes with: `submit/package.py`
NONCE = "nonce"  # key of what makes a claim unlike any other
_RACES = 8
_AT_ONCE = 16  # requests of one call
_DELETED_AT_ONCE = 500  # keys of one request, of which S3 takes 1000


def canonical_json(value: Any) -> bytes:
    """JSON with one spelling per value (sorted keys, no NaN): what hashes are taken over and records are kept in."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False).encode()


class Listed(NamedTuple):
    """A key, the bytes that lie under it, when they were written (UTC, by the store's clock), and the store's tag."""

    key: str
    size: int
    modified: datetime
    tag: str = ""  # another one where other bytes lie there


class Store:
    """A place for bytes under keys such as `models/jarvis/klu/3/card.json`.

    Create one with `Store.open`. It pickles as its URL alone, so that it can travel to a Ray worker, which then
    takes credentials from its own environment.

    `Store(url)` is a store that is known to hold something. Its folder is never made: one that is missing or empty,
    such as where a network file system is not mounted any more, is a store out of reach.
    """

    def __init__(self, url: str, *, read_only: bool = False, new: bool = False) -> None:
        self.url = url
        self.read_only = read_only
        self._backend = Backend(url, new=new)

    @classmethod
    def open(cls, url: str | None = None) -> Store:
        """The store at `url`, else at `$XTLRAY_STORE`, else in `./xtlray-store`.

        Raises:
            RequestError: the URL's scheme is not one that we know, or the folder cannot be made.
        """
        return cls(absolute(url or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_URL), new=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.url, self.read_only))

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `MissingKeyError` where there are none."""
        try:
            return self._backend.call("read", key, lambda backend: bytes(obstore.get(backend, key).bytes()))
        except MISSING as error:
            raise MissingKeyError("Nothing lies in the store under that key", got=f"{key} in {self.url}") from error

    def get_json(self, key: str) -> Any:
        """The JSON value under `key`. Raises `MissingKeyError`, or `StoreError` where it is not JSON."""
        data = self.get(key)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StoreError(
                "A file in the store is not the JSON that it should be",
                got=f"{key} in {self.url}: {error}",
                fix="restore the file, or remove what it belongs to and make it again",
            ) from error

    def exists(self, key: str) -> bool:
        try:
            self._backend.call("look up", key, lambda backend: obstore.head(backend, key))
        except MISSING:
            return False
        return True

    def size(self, key: str) -> int:
        """How many bytes lie under `key`. Raises `MissingKeyError` where there are none."""
        try:
            return int(self._backend.call("look up", key, lambda backend: obstore.head(backend, key))["size"])
        except MISSING as error:
            raise MissingKeyError("Nothing lies in the store under that key", got=f"{key} in {self.url}") from error

    def entry(self, key: str) -> Listed | None:
        """What a listing says of `key`; None where nothing lies there."""
        try:
            return _listed(self._backend.call("look up", key, lambda backend: obstore.head(backend, key)))
        except MISSING:
            return None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, fewer at the end. Raises `MissingKeyError` where the key is not there."""
        try:
            return self._backend.call(
                "read", key, lambda backend: bytes(obstore.get_range(backend, key, start=start, length=length))
            )
        except MISSING as error:
            raise MissingKeyError("Nothing lies in the store under that key", got=f"{key} in {self.url}") from error

    def get_all(self, keys: Sequence[str]) -> builtins.list[bytes | None]:
        """The bytes under each key, None where there are none; many at a time, as an object store answers slowly."""

        def get(key: str) -> bytes | None:
            try:
                return self.get(key)
            except MissingKeyError:
                return None

        if len(keys) < 2:
            return [get(key) for key in keys]
        with ThreadPoolExecutor(min(_AT_ONCE, len(keys))) as pool:
            return builtins.list(pool.map(get, keys))

    def list(self, prefix: str, after: str | None = None) -> builtins.list[str]:
        """Every key under the folder `prefix`, sorted; with `after` only those that sort behind that key."""
        return [item.key for item in self.listing(prefix, after)]

    def listing(self, prefix: str, after: str | None = None) -> builtins.list[Listed]:
        """As `list`, with the size of each, and when it was last written."""

        def found(backend: Any) -> builtins.list[Listed]:
            pages = obstore.list(backend, prefix=_folder(prefix), offset=after)
            items = (item for page in pages for item in page)
            return sorted(_listed(item) for item in items)

        try:
            listed = self._backend.call("list", prefix, found)
        except MISSING:
            return []
        return listed if self.local_path else _without_markers(listed, prefix)

    def children(self, prefix: str) -> builtins.list[str]:
        """The names, of files and folders alike, immediately under the folder `prefix`, sorted.

        On local disk a folder stays when its last file is deleted, and is named here still.
        """
        try:
            found = self._backend.call(
                "list", prefix, lambda backend: obstore.list_with_delimiter(backend, prefix=_folder(prefix))
            )
        except MISSING:
            return []
        paths = [str(p) for p in found["common_prefixes"]] + [str(item["path"]) for item in found["objects"]]
        folder = prefix.strip("/")
        return sorted(path.rsplit("/", 1)[-1] for path in (p.rstrip("/") for p in paths) if path != folder)

    # --- writing -------------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes, *, unique: bool = False) -> bool:
        """Write `data` under `key` if nothing is there. Returns whether it was written, by this very call.

        A put may be done although its answer is an error, or none. So where a try failed, and the next one finds the
        very same bytes, they count as its own: two writers of equal bytes may then both be told so. Where it matters
        who was first, the bytes must be ones that nobody else would write (`unique`), as those of `claim` are; they
        are recognised even where something between here and the store has tried twice.
        """
        self._refuse_if_read_only(key)
        tries = 0

        def put(backend: Any) -> None:
            nonlocal tries
            tries += 1
            obstore.put(backend, key, data, mode="create", use_multipart=False)

        try:
            self._backend.call("write", key, put, sent=len(data))
        except AlreadyExistsError:
            return (unique or tries > 1) and self._holds(key, data)
        return True

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.get(key) == data
        except MissingKeyError:
            return False

    def create_json(self, key: str, value: Any) -> bool:
        """`create` with a JSON value."""
        return self.create(key, canonical_json(value))

    def put_once(self, key: str, data: bytes) -> bool:
        """`create`; returns whether exactly `data` lies under `key` now, whoever wrote it."""
        return self.create(key, data) or self.get(key) == data

    def ensure(self, key: str, data: bytes) -> None:
        """Make sure that exactly `data` lies under `key`, of which no manifest speaks yet.

        What an interrupted writer left there is replaced if it differs. So it is for keys whose content their name
        fixes (a hash, an attempt that is one's own), not for what two writers may fill differently.
        """
        for _ in range(_RACES):
            try:
                if self.put_once(key, data):
                    return
            except MissingKeyError:
                continue  # another writer is just replacing it
            self.delete([key])
        raise StoreError("Two writers disagree about a file", got=key, fix="run it again when the other is done")

    def publish(self, folder: str, files: Mapping[str, bytes], manifest: str, content: Any) -> bool:
        """Write `files` into `folder`, then the JSON `manifest` that makes them count.

        Returns whether this call wrote the manifest; False where a complete folder was there already.
        """
        if self.exists(f"{folder}/{manifest}"):
            return False
        for name in sorted(files):
            self.ensure(f"{folder}/{name}", files[name])
        created = self.create_json(f"{folder}/{manifest}", content)
        # What an interrupted writer had left may have been cleared away after it was found to be there.
        for name in sorted({*files} - {*self.children(folder)}):
            self.ensure(f"{folder}/{name}", files[name])
        return created

    def delete(self, keys: Iterable[str]) -> None:
        """Delete keys; those that are gone already are fine."""
        keys = builtins.list(keys)
        at_once = _DELETED_AT_ONCE if self.url.startswith("s3://") else 1
        for start in range(0, len(keys), at_once):
            some = keys[start : start + at_once]
            self._refuse_if_read_only(some[0])
            what = some[0] if len(some) == 1 else f"{some[0]} and {len(some) - 1} more"
            try:
                self._backend.call("delete", what, partial(obstore.delete, paths=some), empties=True)
            except MISSING:
                continue

    def delete_folder(self, folder: str) -> None:
        """Delete every key under `folder`; on local disk the folder too."""
        self.delete(self.list(folder))
        if self.local_path:
            path = self.local_path / folder
            self._backend.call("delete", folder, lambda _: shutil.rmtree(path, ignore_errors=True), empties=True)

    # --- logs: numbered, create-once entries of which the highest holds -------------------------------------------

    def numbers(self, folder: str) -> builtins.list[int]:
        """The numbers n of the entries `<folder>/<n>` and `<folder>/<n>.json`, ascending."""
        names = [name.removesuffix(".json") for name in self.children(folder)]
        return sorted(int(name) for name in names if name.isdecimal())

    def append(self, folder: str, value: Any) -> int:
        """Append a JSON entry to the log in `folder`; returns its number (1, 2, 3 …). See `claim` for the value."""
        return self.claim(folder, "{n}.json", value)

    def claim(self, folder: str, pattern: str, value: Any, above: int = 0) -> int:
        """Take the next free number n by creating `<folder>/<pattern with n>`; safe under any number of racers.

        The number is greater than `above`, and than all that were taken. A value that is a mapping is kept with a
        `nonce` beside its own keys, so that no two claims are equal and none is taken for another's; `newest` leaves
        it out again. Other values are for logs of which it does not matter who wrote an entry that two may write.
        """
        unique = isinstance(value, Mapping)
        data = canonical_json({**value, NONCE: uuid.uuid4().hex} if unique else value)
        n = max(self.numbers(folder), default=0)
        n = max(n, above) + 1
        while not self.create(f"{folder}/{pattern.format(n=n)}", data, unique=unique):
            time.sleep(random.uniform(0, 0.01))  # racers that lost step aside a little, each by another amount
            n = max(n, *self.numbers(folder)) + 1
        return n

    def newest(self, folder: str) -> tuple[int, Any] | None:
        """Number and value of the entry that holds, or None where the log is empty."""
        numbers = self.numbers(folder)
        if not numbers:
            return None
        value = self.get_json(f"{folder}/{numbers[-1]}.json")
        if isinstance(value, dict):
            value.pop(NONCE, None)
        return numbers[-1], value

    # --- for Ray and delta-rs ------------------------------------------------------------------------------------

    @property
    def local_path(self) -> Path | None:
        """The folder behind a local store, None for an object store."""
        return path_of(self.url) if self.url.startswith("file://") else None

    @property
    def where(self) -> str:
        """The store for people: its URL, and the server that has it where that is not the usual one."""
        return self._backend.where

    def url_of(self, key: str) -> str:
        """A URL (object stores) or an absolute path (folders) that Ray, pyarrow and people understand."""
        local = self.local_path
        return str(local / key) if local else f"{self.url.rstrip('/')}/{key}"

    def delta(self, key: str) -> tuple[str, dict[str, str]]:
        """URL and storage options of the Delta table under `key`, for delta-rs.

        The options hold the keys of the store: they are never to be shown, logged or kept.
        """
        return self.url_of(key), credentials.access().delta() if self.url.startswith("s3://") else {}

    def arrow(self, key: str) -> tuple[FileSystem, str]:
        """pyarrow's filesystem of the store and the path of `key` in it, for pyarrow and Ray Data.

        The filesystem may travel to another process: it takes no keys along, but finds them there.
        """
        from xtlray.arrow_files import filesystem_of, root_of

        return filesystem_of(self.url), f"{root_of(self.url)}/{key.strip('/')}".rstrip("/")

    def for_ray(self, key: str) -> dict[str, Any]:
        """`storage_path` and, of an object store, `storage_filesystem` for a `RunConfig` of Ray's."""
        if self.local_path:
            return {"storage_path": self.url_of(key)}
        files, path = self.arrow(key)
        return {"storage_path": path, "storage_filesystem": files}

    def _refuse_if_read_only(self, key: str) -> None:
        if self.read_only:
            raise RequestError(
                "This store comes with the package and cannot be written to", got=key, fix="use another name or store"
            )


def builtin() -> Store:
    """The read-only store that comes with the package: demo datasets and a model, laid out as in any other store."""
    elsewhere = os.environ.get(BUILTIN_VARIABLE)
    return Store(absolute(elsewhere or str(Path(__file__).with_name("builtin"))), read_only=True)


def _listed(item: Any) -> Listed:
    return Listed(str(item["path"]), int(item["size"]), item["last_modified"], (item.get("e_tag") or "").strip('"'))


def _folder(prefix: str) -> str | None:
    """`prefix` with one closing slash, so that `a/b` never means `a/bc`; None for the whole store."""
    stripped = prefix.strip("/")
    return f"{stripped}/" if stripped else None


def _without_markers(listed: builtins.list[Listed], prefix: str) -> builtins.list[Listed]:
    """Without the empty objects `folder/` by which some programs mark folders in a bucket, as far as they can be told.

    obstore names them as keys, without their slash; but nothing of ours is both a key and a folder.
    """
    if all(item.size for item in listed):  # nearly always
        return listed
    folders = {prefix.strip("/"), *(parent for item in listed for parent in _parents(item.key))}
    return [item for item in listed if item.size or item.key not in folders]


def _parents(key: str) -> Iterator[str]:
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key


def _reopen(url: str, read_only: bool) -> Store:
    return Store(url, read_only=read_only)
