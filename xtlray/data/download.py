"""A file over HTTP, whole and proven or not at all: downloads rot, and half a file must never pass for a dataset.

Bytes go to `<name>.part` beside the target, where an interrupted download resumes. The check (git blob id, gzip
integrity) comes before the rename, so what lies under the final name is always good. Standard library only; proxies
are taken from the usual environment variables.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

from xtlray import __version__
from xtlray.data.proof import Check, DownloadError, is_html

CACHE_VARIABLE = "XTLRAY_CACHE"
_CHUNK = 1 << 18
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be gone when asked again
_log = logging.getLogger(__name__)


class NotThereError(DownloadError):
    """The server knows nothing under that address (404, 410)."""


class _PassingTroubleError(Exception):
    """The network or the server failed in a way that may be over soon."""


class _StalePartError(_PassingTroubleError):
    """What was downloaded before is not the beginning of what the server has now (416)."""


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: failures in a row, without a new byte, before giving up.
        timeout_s: seconds without a byte after which a connection counts as dead.
        backoff_s: pause after the first failure; it doubles with each, up to 30 s.
    """

    attempts: int = 5
    timeout_s: float = 30.0
    backoff_s: float = 0.5

    def pause(self, failures: int) -> None:
        time.sleep(min(30.0, self.backoff_s * 2 ** (failures - 1)))


def cache_folder() -> Path:
    """Where downloads lie: `$XTLRAY_CACHE`, else `~/.cache/xtlray/downloads` (`$XDG_CACHE_HOME` is honoured)."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xtlray" / "downloads"


def download(url: str, target: Path, check: Check, *, pinned: bool, patience: Patience | None = None) -> Path:
    """The file at `url`, checked, under `target`.

    Args:
        url: an http or https address.
        target: where the file shall lie. What lies there and passes the check is used again.
        check: raises `DownloadError` where the bytes are not the file.
        pinned: the address always means the same bytes, so a good file need not be asked for again; otherwise the
            server is asked whether it has a newer one.
        patience: how long to try.

    Raises:
        NotThereError: 404 or 410.
        DownloadError: an empty, short or HTML body, wrong bytes, a refusal, or the network or disk failed.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            return _download(url, target, check, pinned, patience or Patience())
    except OSError as error:  # the network's errors have been turned into others by now
        raise DownloadError(
            "The download cannot be written", got=f"{target}: {error.strerror or error}", fix=f"set {CACHE_VARIABLE}"
        ) from error


def _download(url: str, target: Path, check: Check, pinned: bool, patience: Patience) -> Path:
    part = target.with_name(target.name + ".part")
    have = _passes(target, check)
    if have and pinned:
        return target
    if pinned and _passes(part, check):  # whole, but its download ended before the rename
        return part.replace(target)
    since = target.stat().st_mtime if have else None
    for last in (False, True):
        came = _transfer(url, part, since, patience)
        if came is None:
            return target
        try:
            check(part)
        except DownloadError:
            part.unlink()
            if last or not came.pieced:
                raise
            continue  # the pieces did not belong together: once more, all from now
        os.utime(part, (came.modified, came.modified))
        return part.replace(target)
    raise AssertionError("the second round returns or raises")


@dataclass(frozen=True)
class _Came:
    """What a transfer left: the server's date of the file (0 if it said none), and whether it came in pieces."""

    modified: float
    pieced: bool


def _transfer(url: str, part: Path, since: float | None, patience: Patience) -> _Came | None:
    """Fill `part`, over as many connections as it takes. None: the file has not changed since `since`."""
    failures, most, pieced = 0, _size(part), False
    while True:
        offset = _size(part)
        try:
            response = _open(url, offset, since, patience.timeout_s)
            if response is None:
                return None
            with response:
                offset = _resumes_at(response, offset)
                pieced = pieced or offset > 0
                _receive(response, url, part, offset)
                return _Came(_date(response), pieced)
        except _PassingTroubleError as trouble:
            if isinstance(trouble, _StalePartError):
                part.unlink(missing_ok=True)
            failures = 1 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures >= patience.attempts:
                raise DownloadError(
                    str(trouble),
                    got=f"{url}, {failures} times in a row",
                    fix="check the network and the proxy variables, then run it again: it goes on where it stopped",
                ) from trouble
            _log.debug("%s: %s; trying again", url, trouble)
            patience.pause(failures)


def _open(url: str, offset: int, since: float | None, timeout_s: float) -> http.client.HTTPResponse | None:
    """The response to a request for all bytes from `offset` on. None: the file has not changed since `since`."""
    headers = {"User-Agent": f"xtlray/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    elif since:
        headers["If-Modified-Since"] = formatdate(since, usegmt=True)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout_s
        )
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:
            return None
        raise _answer(url, error) from error
    except urllib.error.URLError as error:
        raise _no_answer(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _PassingTroubleError(f"The connection broke: {error or type(error).__name__}") from error


def _receive(response: http.client.HTTPResponse, url: str, part: Path, offset: int) -> None:
    """Write the body behind the first `offset` bytes of `part`; raises unless all that was announced has come."""
    announced = response.headers.get("Content-Length")
    expected = offset + int(announced) if announced and announced.isdigit() else None
    chunk = _read(response)
    if is_html(chunk if not offset else b"", response.headers.get("Content-Type", "")):
        raise DownloadError(
            "The server sent a web page (HTML) instead of the file",
            got=f"{url}: {chunk[:60].decode(errors='replace').strip()!r}",
            fix="open the address in a browser: a login page, a captive portal or an error page stands before it",
        )
    if not chunk and not offset and not expected:
        raise DownloadError("The server sent an empty body", got=url, fix="try again later, or another mirror (--from)")
    with part.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        while chunk:
            file.write(chunk)
            chunk = _read(response)
        file.truncate()
    if expected is not None and _size(part) != expected:
        raise _PassingTroubleError(f"The body was short: {_size(part):,} of {expected:,} bytes came")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise _PassingTroubleError(f"The connection broke: {error or type(error).__name__}") from error


def _resumes_at(response: http.client.HTTPResponse, offset: int) -> int:
    """Where the body belongs: at `offset` if the server goes on there, else at the start."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return offset if response.status == 206 and found and int(found[1]) == offset else 0


def _answer(url: str, error: urllib.error.HTTPError) -> Exception:
    status = f"{error.code} {error.reason}"
    if error.code == 416:
        return _StalePartError(f"The server answered {status}")
    if error.code in _PASSING:
        return _PassingTroubleError(f"The server answered {status}")
    if error.code in (404, 410):
        return NotThereError(f"The server has no such file ({status})", got=url, fix="check the address")
    return DownloadError(f"The server refused the file ({status})", got=url, fix="check rights and proxy settings")


def _no_answer(url: str, error: urllib.error.URLError) -> Exception:
    if isinstance(error.reason, ssl.SSLCertVerificationError):
        return DownloadError(
            "The server's certificate cannot be trusted",
            got=f"{url}: {error.reason.verify_message}",
            fix="set SSL_CERT_FILE to the certificates that your network uses",
        )
    return _PassingTroubleError(f"The server could not be reached: {error.reason}")


def _date(response: http.client.HTTPResponse) -> float:
    with contextlib.suppress(TypeError, ValueError):
        return parsedate_to_datetime(response.headers["Last-Modified"]).timestamp()
    return 0.0


def _passes(path: Path, check: Check) -> bool:
    if not path.is_file():
        return False
    with contextlib.suppress(DownloadError):
        check(path)
        return True
    return False


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other processes from the same download; the system ends the lock with its owner."""
    try:
        import fcntl
    except ImportError:  # Windows: two at once would spoil each other's .part, and the check would tell
        yield
        return
    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
