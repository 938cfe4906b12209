"""What proves that a downloaded file is the file that was meant: its git blob id, or its own gzip checksum."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

from xtlray.errors import WorkError

Check = Callable[[Path], None]
_CHUNK = 1 << 20


class DownloadError(WorkError):
    """A file could not be had, or what came is not the file."""


def git_blob_id(path: Path) -> str:
    """The id that git gives the file's bytes: SHA-1 over `blob <length>\\0` and the bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_git_blob(expected: str) -> Check:
    """A check that raises `DownloadError` unless the file's git blob id is `expected`."""

    def check(path: Path) -> None:
        if (found := git_blob_id(path)) != expected:
            raise DownloadError(
                "The bytes are not those of the published file",
                got=f"git blob {found}, {path.stat().st_size:,} bytes",
                allowed=f"git blob {expected}",
                fix="try again later or another mirror (--from): something on the way changes the file",
            )

    return check


def is_intact_gzip(path: Path) -> None:
    """Raise `DownloadError` unless the whole file unpacks and its checksums hold."""
    try:
        with gzip.open(path, "rb") as file:
            while file.read(_CHUNK):
                continue
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DownloadError(
            "The file is not an intact gzip file", got=f"{path.name}: {error}", fix="check the mirror's copy of it"
        ) from error


def is_html(start: bytes, content_type: str = "") -> bool:
    """Whether a body that begins with `start` is a web page: an error, a login, a captive portal."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return content_type.lower().startswith("text/html") or text.startswith((b"<!doctype html", b"<html", b"<head"))
