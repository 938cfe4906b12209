"""What lies under a store: obstore, with every call made in one place, where an outage is told from a refusal.

A local folder that has gone is told apart from one in which nothing is found; obstore does not.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, from_url

from xtlray import credentials, patience
from xtlray.errors import RequestError, StoreGoneError
from xtlray.refusals import cleaned, in_short, names_no_bucket, refusal, undecided
from xtlray.urls import path_of

T = TypeVar("T")
MISSING = (NotFoundError, FileNotFoundError)  # how obstore says that a key is not there

# What obstore says of a server that is not there, too busy or out of order. 501 (no create-once) would not pass.
_TEMPORARY = re.compile(r"HTTP error: |non-2xx status code: (408|425|429|500|502|503|504)\b")
# And Amazon's word for a connection over which too little came.
_TOO_SLOW = re.compile(r"non-2xx status code: 400\b.*<Code>RequestTimeout</Code>", re.DOTALL)
# Nor would these, of an address without an S3 server that is trusted.
_PERMANENT = re.compile(r" - HTTP error: builder error|InvalidCertificate\(|InvalidMessage\(\s*InvalidContentType")
_CONNECT = 5.0  # seconds until a connection must stand
_ANSWER, _LEAST_ANSWER = 30.0, 5.0  # seconds of silence after which a server has stopped; less for short patience
_SLOWEST = 250_000  # bytes per second of an upload: during it a server is silent
_LONGEST = 6 * 3600.0  # seconds for any request
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

    Attributes:
        where: the store, for people, with the server that has it where that is not the usual one.

    Raises:
        RequestError: the URL is not one that can be opened, or there are no keys for it.
    """

    def __init__(self, url: str, *, new: bool) -> None:
        self.url = self.where = url
        self._root = path_of(url) if url.startswith("file://") else None
        self._filled = not new  # once something was seen in it, an empty folder has gone
        self._met = False  # whether the bucket is known to be there
        self._opened: dict[float, Any] = {}  # by the time that an answer may take
        self._patience = patience.patience_with(url)
        self._patience.known |= not new
        self._answer = min(_ANSWER, max(_LEAST_ANSWER, self._patience.seconds))
        if self._root is None:
            self._open(0)
        elif new:  # else it may be gone just now
            _make(self._root)
        if url.startswith("s3://") and (endpoint := credentials.access().endpoint):
            self.where = f"{url} at {endpoint}"

    def call(self, verb: str, key: str, call: Callable[[Any], T], *, empties: bool = False, sent: int = 0) -> T:
        """`call(backend)`; an outage is waited out.

        Args:
            verb: what is done with `key`, for messages.
            empties: it may be this call that leaves nothing behind.
            sent: bytes that it sends, for which it is given time.

        Raises:
            StoreGoneError: the store did not come back.
            StoreError: it refused. That a key is missing, or there already, comes through as obstore says it.
        """
        try:
            return self._patience.outlast(lambda: self._once(call, empties, sent), _is_temporary)
        except patience.Gone as gone:
            cause = _cause(gone)
            raise StoreGoneError(
                f"The store has been out of reach for {gone.seconds:.0f} s",
                got=f"could not {verb} {key} in {self.where}: {in_short(cause)}",
                fix="see that it is up, mounted and reachable, then give the same command again: what is finished is "
                f"kept ({patience.ENVIRONMENT_VARIABLE} sets for how many seconds it is waited for)",
            ) from cleaned(cause)
        except AlreadyExistsError:
            raise
        except MISSING as error:
            if names_no_bucket(error) or verb == "write":
                raise refusal(error, verb, key, self.where) from cleaned(error)
            self._meet()
            clean = cleaned(error)
            if clean is error:
                raise
            raise clean from None
        except (BaseError, OSError) as error:
            if _errno(error) == errno.ENOTDIR and verb != "write":  # a file stands where the key's folder would
                raise NotFoundError(f"{key} is not there") from cleaned(error)
            raise refusal(error, verb, key, self.where) from cleaned(error)

    def _meet(self) -> None:
        """See that the bucket is there: where only its head is asked for, a server does not say what is missing."""
        if self._root is None and not self._met:  # one page: a bucket may hold millions of keys
            self.call("list", "", lambda backend: next(iter(obstore.list(backend, chunk_size=1)), None))

    def _once(self, call: Callable[[Any], T], empties: bool, sent: int) -> T:
        root = self._root
        if root is None:
            answer = call(self._open(sent))
            self._met = True
            return answer
        # In a folder that is gone, obstore finds nothing, and a put makes the folder anew: so look before and after.
        self._look(root)
        try:
            answer = call(self._open(0))
        except Exception:
            self._look(root)
            raise
        self._filled &= not empties
        self._look(root)
        return answer

    def _open(self, sent: int) -> Any:
        """obstore's store. A server that has stopped is noticed by its silence, which an upload needs to be longer."""
        silence = self._answer
        while silence < sent / _SLOWEST:
            silence *= 2
        if silence not in self._opened:
            self._opened[silence] = _opened(self.url, silence)
        return self._opened[silence]

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
    if isinstance(error, FolderGoneError) or (isinstance(error, AlreadyExistsError) and undecided(error)):
        return True
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, AlreadyExistsError, *MISSING)):
        return False
    if not isinstance(error, (BaseError, OSError)):
        return False
    if _errno(error) in _TEMPORARY_ERRNO or _TOO_SLOW.search(str(error)):
        return True
    return bool(_TEMPORARY.search(_first_line(error)) and not _PERMANENT.search(str(error)))


def _errno(error: Exception) -> int | None:
    """The system's number of an error, which obstore has in its text."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    said = re.search(r"\(os error (\d+)\)", _first_line(error))
    return int(said[1]) if said else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _cause(gone: patience.Gone) -> Exception:
    return gone.__cause__ if isinstance(gone.__cause__, Exception) else gone


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_opened(folder.as_uri(), error) from error


def _opened(url: str, silence: float) -> Any:
    try:
        if url.startswith("file://"):
            return LocalStore(prefix=str(path_of(url)))
        arguments = credentials.access().obstore() if url.startswith("s3://") else {}
        client = {
            **arguments.pop("client_options", {}),
            "connect_timeout": timedelta(seconds=_CONNECT),
            "read_timeout": timedelta(seconds=silence),
            "timeout": timedelta(seconds=_LONGEST),
        }
        # Retries are ours: bounded, said, and known to `create`.
        return from_url(url, client_options=client, retry_config={"max_retries": 0}, **arguments)
    except (BaseError, OSError) as error:
        raise _cannot_be_opened(url, error) from cleaned(error)


def _cannot_be_opened(url: str, error: Exception) -> RequestError:
    return RequestError(
        "The store cannot be opened",
        got=f"{url}: {in_short(error)}",
        fix="choose another place where it was named: --store, XTLRAY_STORE, or another option",
    )
