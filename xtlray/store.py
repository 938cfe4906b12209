"""The object store: one URL holds everything, and this is the only code of ours that touches it.

A folder and an S3 bucket behave alike through obstore. Everything rests on one primitive that both keep exactly:
*create-once*, a put that fails where the key exists. From it come claims (who makes attempt 3?), logs (what does
`best` mean now?) and publishing (files first, the manifest that makes them count last). Nothing is overwritten.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, from_url

from xtlray.errors import MissingKeyError, RequestError, StoreError

DEFAULT_URL = "./xtlray-store"
ENVIRONMENT_VARIABLE = "XTLRAY_STORE"
_RACES = 8
_SCHEMES = ("s3", "gs", "az", "file")


def canonical_json(value: Any) -> bytes:
    """JSON with one spelling per value (sorted keys, no NaN): what hashes are taken over and records are kept in."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False).encode()


class Store:
    """A place for bytes under keys such as `models/jarvis/klu/3/card.json`.

    Create one with `Store.open`. It pickles as its URL alone, so that it can travel to a Ray worker, which then
    takes credentials from its own environment.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = url
        self.read_only = read_only
        self._backend = _backend(url, create=not read_only)

    @classmethod
    def open(cls, url: str | None = None) -> Store:
        """The store at `url`, else at `$XTLRAY_STORE`, else in `./xtlray-store`.

        Raises:
            RequestError: the URL's scheme is not one that we know, or the folder cannot be made.
        """
        return cls(_absolute(url or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_URL))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.url, self.read_only))

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `MissingKeyError` where there are none."""
        try:
            return bytes(obstore.get(self._backend, key).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise MissingKeyError("Nothing lies in the store under that key", got=f"{key} in {self.url}") from error
        except (BaseError, OSError) as error:
            raise self._failure("read", key, error) from error

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
            obstore.head(self._backend, key)
        except (NotFoundError, FileNotFoundError):
            return False
        except (BaseError, OSError) as error:
            raise self._failure("look up", key, error) from error
        return True

    def list(self, prefix: str) -> list[str]:
        """Every key under the folder `prefix`, sorted."""
        try:
            pages = obstore.list(self._backend, prefix=_folder(prefix))
            return sorted(str(item["path"]) for page in pages for item in page)
        except (BaseError, OSError) as error:
            raise self._failure("list", prefix, error) from error

    def children(self, prefix: str) -> builtins.list[str]:
        """The names, of files and folders alike, immediately under the folder `prefix`, sorted.

        On local disk a folder stays when its last file is deleted, and is named here still.
        """
        folder = _folder(prefix)
        try:
            found = obstore.list_with_delimiter(self._backend, prefix=folder)
        except (NotFoundError, FileNotFoundError):
            return []
        except (BaseError, OSError) as error:
            raise self._failure("list", prefix, error) from error
        paths = [str(p) for p in found["common_prefixes"]] + [str(item["path"]) for item in found["objects"]]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    # --- writing -------------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under `key` if nothing is there. Returns whether it was written, by this very call."""
        self._refuse_if_read_only(key)
        try:
            obstore.put(self._backend, key, data, mode="create")
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            raise self._failure("write", key, error) from error
        return True

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
                obstore.delete(self._backend, key)
            except (NotFoundError, FileNotFoundError):
                continue
            except (BaseError, OSError) as error:
                raise self._failure("delete", key, error) from error

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
        return _path(self.url) if self.url.startswith("file://") else None

    def url_of(self, key: str) -> str:
        """A URL (object stores) or an absolute path (folders) that Ray, pyarrow and people understand."""
        local = self.local_path
        return str(local / key) if local else f"{self.url.rstrip('/')}/{key}"

    def _refuse_if_read_only(self, key: str) -> None:
        if self.read_only:
            raise RequestError(
                "This store comes with the package and cannot be written to", got=key, fix="use another name or store"
            )

    def _failure(self, verb: str, key: str, error: Exception) -> StoreError:
        return StoreError(
            f"The store could not {verb} a key",
            got=f"{key} in {self.url}: {_in_short(error)}",
            fix="check that the store's URL, credentials, free space and permissions are right",
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
        return _path(url).resolve().as_uri()
    return url.rstrip("/")


def _path(file_url: str) -> Path:
    return Path(unquote(urlsplit(file_url).path))


def _in_short(error: Exception) -> str:
    lines = str(error).splitlines()  # obstore adds pages of debugging output
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _reopen(url: str, read_only: bool) -> Store:
    return Store(url, read_only=read_only)


def _backend(url: str, *, create: bool) -> Any:
    try:
        if not url.startswith("file://"):
            return from_url(url)
        path = _path(url)
        if create:
            path.mkdir(parents=True, exist_ok=True)
        return LocalStore(prefix=str(path))
    except (BaseError, OSError) as error:
        raise RequestError(
            "The store cannot be opened",
            got=f"{url}: {_in_short(error)}",
            fix=f"choose another with --store or {ENVIRONMENT_VARIABLE}",
        ) from error
