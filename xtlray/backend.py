"""What lies under a store: obstore, with every call made in one place, where an outage is told from a refusal.

A local folder that has gone is told apart from one in which nothing is found; obstore does not.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, from_url

from xtlray import patience
from xtlray.errors import RequestError, StoreError, StoreGoneError

T = TypeVar("T")
MISSING = (NotFoundError, FileNotFoundError)  # how obstore says that a key is not there

# What obstore says of a server that is not there, too busy or out of order. 501 (no create-once) would not pass.
_TEMPORARY = re.compile(r"HTTP error: |non-2xx status code: (408|425|429|500|502|503|504)\b")
# What a network file system says when its server is gone.
_TEMPORARY_ERRNO = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "EREMOTEIO", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
    )
    if hasattr(errno, name)
)


class Backend:
    """The object store or the folder behind a URL.

    Args:
        url: `file:///…`, or one of an object store.
        new: it may be that nothing lies there yet; a folder is made.

    Raises:
        RequestError: the URL is not one that can be opened.
    """

    def __init__(self, url: str, *, new: bool) -> None:
        self.url = url
        self._root = path_of(url) if url.startswith("file://") else None
        self._filled = not new  # once something was seen in it, an empty folder has gone
        self._opened = None if self._root else _opened(url)  # a folder may be gone just now
        self._patience = patience.patience_with(url)
        self._patience.known |= not new
        if self._root and new:
            _make(self._root)

    def call(self, verb: str, key: str, call: Callable[[Any], T], *, empties: bool = False) -> T:
        """`call(backend)`; an outage is waited out. `empties`: it may be this call that leaves nothing behind.

        Raises:
            StoreGoneError: the store did not come back.
            StoreError: it refused. That a key is missing, or there already, comes through as obstore says it.
        """
        try:
            return self._patience.outlast(lambda: self._once(call, empties), _is_temporary)
        except patience.Gone as gone:
            raise StoreGoneError(
                f"The store has been out of reach for {gone.seconds:.0f} s",
                got=f"could not {verb} {key} in {self.url}: {patience.in_short(_cause(gone))}",
                fix="see that it is up, mounted and reachable, then give the same command again: what is finished is "
                f"kept ({patience.ENVIRONMENT_VARIABLE} sets for how many seconds it is waited for)",
            ) from gone
        except (AlreadyExistsError, *MISSING):
            raise
        except (BaseError, OSError) as error:
            raise StoreError(
                f"The store could not {verb} a key",
                got=f"{key} in {self.url}: {patience.in_short(error)}",
                fix="check that the store's URL, credentials, free space and permissions are right",
            ) from error

    def _once(self, call: Callable[[Any], T], empties: bool) -> T:
        root = self._root
        if root is None:
            return call(self._opened)
        # In a folder that is gone, obstore finds nothing, and a put makes the folder anew: so look before and after.
        self._look(root)
        self._opened = self._opened or _opened(self.url)
        try:
            answer = call(self._opened)
        except Exception:
            self._look(root)
            raise
        self._filled &= not empties
        self._look(root)
        return answer

    def _look(self, root: Path) -> None:
        try:
            with os.scandir(root) as entries:
                filled = next(entries, None) is not None
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FolderGoneError(f"{root} is not there") from error
        if self._filled and not filled:
            raise FolderGoneError(f"{root} is empty; if it is a mount point, what belongs there is not mounted")
        self._filled = filled


class FolderGoneError(OSError):
    """The folder of a local store has gone."""


def _is_temporary(error: Exception) -> bool:
    """Whether a call may succeed later, unchanged: nobody answered, or only that it cannot be done now."""
    if isinstance(error, FolderGoneError):
        return True
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, AlreadyExistsError, *MISSING)):
        return False
    if not isinstance(error, (BaseError, OSError)):
        return False
    text = patience.in_short(error)
    number = error.errno if isinstance(error, OSError) else None
    said = re.search(r"\(os error (\d+)\)", text)
    number = number or (int(said[1]) if said else None)
    return number in _TEMPORARY_ERRNO or bool(_TEMPORARY.search(text))


def _cause(gone: patience.Gone) -> Exception:
    return gone.__cause__ if isinstance(gone.__cause__, Exception) else gone


def path_of(file_url: str) -> Path:
    """The folder that a file URL names."""
    return Path(unquote(urlsplit(file_url).path))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_opened(folder.as_uri(), error) from error


def _opened(url: str) -> Any:
    try:
        if url.startswith("file://"):
            return LocalStore(prefix=str(path_of(url)))
        return from_url(url, retry_config={"max_retries": 0})  # retries are ours: bounded, said, and known to `create`
    except (BaseError, OSError) as error:
        raise _cannot_be_opened(url, error) from error


def _cannot_be_opened(url: str, error: Exception) -> RequestError:
    return RequestError(
        "The store cannot be opened",
        got=f"{url}: {patience.in_short(error)}",
        fix="choose another with --store or XTLRAY_STORE",
    )
