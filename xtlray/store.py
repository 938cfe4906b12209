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
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError

from xtlray.backend import MISSING, Backend, path_of
from xtlray.errors import MissingKeyError, RequestError, StoreError

DEFAULT_URL = "./xtlray-store"
ENVIRONMENT_VARIABLE = "XTLRAY_STORE"
_RACES = 8
_AT_ONCE = 16  # requests of one call
_SCHEMES = ("s3", "gs", "az", "file")


def canonical_json(value: Any) -> bytes:
    """JSON with one spelling per value (sorted keys, no NaN): what hashes are taken over and records are kept in."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False).encode()


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
        return cls(_absolute(url or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_URL), new=True)

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
        except ValueError as error:
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

        def keys(backend: Any) -> builtins.list[str]:
            pages = obstore.list(backend, prefix=_folder(prefix), offset=after)
            return sorted(str(item["path"]) for page in pages for item in page)

        return self._backend.call("list", prefix, keys)

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
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    # --- writing -------------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under `key` if nothing is there. Returns whether it was written, by this very call.

        Where a try ended without an answer, and the next one finds the very same bytes, they count as its own.
        """
        self._refuse_if_read_only(key)
        tries = 0

        def put(backend: Any) -> None:
            nonlocal tries
            tries += 1
            obstore.put(backend, key, data, mode="create")

        try:
            self._backend.call("write", key, put)
        except AlreadyExistsError:
            return tries > 1 and self._holds(key, data)
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
        return self.create_json(f"{folder}/{manifest}", content)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete keys; those that are gone already are fine."""
        for key in keys:
            self._refuse_if_read_only(key)
            try:
                self._backend.call("delete", key, partial(obstore.delete, paths=key), empties=True)
            except MISSING:
                continue

    # --- logs: numbered, create-once entries of which the highest holds -------------------------------------------

    def numbers(self, folder: str) -> builtins.list[int]:
        """The numbers n of the entries `<folder>/<n>` and `<folder>/<n>.json`, ascending."""
        names = [name.removesuffix(".json") for name in self.children(folder)]
        return sorted(int(name) for name in names if name.isdecimal())

    def append(self, folder: str, value: Any) -> int:
        """Append a JSON entry to the log in `folder`; returns its number (1, 2, 3 …)."""
        return self.claim(folder, "{n}.json", value)

    def claim(self, folder: str, pattern: str, value: Any, above: int = 0) -> int:
        """Take the next free number n by creating `<folder>/<pattern with n>`; safe under any number of racers.

        The number is greater than `above`, and than all that were taken.
        """
        n = max(self.numbers(folder), default=0)
        n = max(n, above) + 1
        while not self.create_json(f"{folder}/{pattern.format(n=n)}", value):
            time.sleep(random.uniform(0, 0.01))  # racers that lost step aside a little, each by another amount
            n = max(n, *self.numbers(folder)) + 1
        return n

    def newest(self, folder: str) -> tuple[int, Any] | None:
        """Number and value of the entry that holds, or None where the log is empty."""
        numbers = self.numbers(folder)
        return (numbers[-1], self.get_json(f"{folder}/{numbers[-1]}.json")) if numbers else None

    # --- for Ray and delta-rs ------------------------------------------------------------------------------------

    @property
    def local_path(self) -> Path | None:
        """The folder behind a local store, None for an object store."""
        return path_of(self.url) if self.url.startswith("file://") else None

    def url_of(self, key: str) -> str:
        """A URL (object stores) or an absolute path (folders) that Ray, pyarrow and people understand."""
        local = self.local_path
        return str(local / key) if local else f"{self.url.rstrip('/')}/{key}"

    def _refuse_if_read_only(self, key: str) -> None:
        if self.read_only:
            raise RequestError(
                "This store comes with the package and cannot be written to", got=key, fix="use another name or store"
            )


def builtin() -> Store:
    """The read-only store that comes with the package: the demo datasets, laid out as in any other store."""
    return Store(Path(__file__).with_name("builtin").as_uri(), read_only=True)


def _folder(prefix: str) -> str | None:
    """`prefix` with one closing slash, so that `a/b` never means `a/bc`; None for the whole store."""
    stripped = prefix.strip("/")
    return f"{stripped}/" if stripped else None


def _absolute(url: str) -> str:
    """`url` with one spelling per store: a folder becomes an absolute file URL, quoted as URLs are."""
    if "://" not in url:
        return Path(url).expanduser().resolve().as_uri()
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise RequestError(
            "The store's URL has a scheme that is not supported",
            got=url,
            allowed="a folder, or a URL that begins with " + ", ".join(f"{s}://" for s in _SCHEMES),
            fix=f"set --store or {ENVIRONMENT_VARIABLE}",
        )
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise RequestError(
                "The store's file URL is not absolute",
                got=url,
                allowed="file:///, with three slashes, and an absolute path",
                fix="give the folder itself, without file://",
            )
        return path_of(url).resolve().as_uri()
    return url.rstrip("/")


def _reopen(url: str, read_only: bool) -> Store:
    return Store(url, read_only=read_only)
