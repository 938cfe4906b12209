"""What the URL of a store may be: one spelling per store, and never a secret in it, for URLs are shown and kept."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from xtlray.errors import RequestError

OBJECT_STORES = ("s3", "gs", "az")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_KEY = re.compile(r"[\x00-\x1f\x7f%?#\\]")
_FIX = "correct it where it was given: --store, XTLRAY_STORE, or another option"


def absolute(url: str) -> str:
    """`url` with one spelling per store: a folder becomes an absolute file URL, quoted as URLs are.

    Raises:
        RequestError: no store can have that URL, or credentials stand in it; those are not repeated.
    """
    if "://" not in url:
        return expanded(url).resolve().as_uri()
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return _folder(url)
    _refuse_credentials(scheme, rest)
    if scheme not in OBJECT_STORES:
        raise RequestError(
            "The URL has a scheme that is not supported",
            got=url,
            allowed="a folder, or a URL that begins with " + ", ".join(f"{s}://" for s in (*OBJECT_STORES, "file")),
            fix=_FIX,
        )
    bucket, _, prefix = rest.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise RequestError(
            "The store cannot be opened: its URL names no bucket",
            got=url,
            allowed=f"{scheme}://bucket/prefix",
            fix=_FIX,
        )
    if prefix and (_NO_KEY.search(prefix) or {"", ".", ".."} & set(prefix.split("/"))):
        raise RequestError(
            "The store cannot be opened: its URL has an odd prefix",
            got=repr(url),
            allowed=r"names between single slashes, without % ? # \ and control characters, none of them only dots",
            fix=_FIX,
        )
    return url.rstrip("/")


def expanded(text: str) -> Path:
    """The path that a person means: `~` is the home; a name that begins so but is nobody's home is as it stands."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def path_of(file_url: str) -> Path:
    """The folder that a file URL names."""
    return Path(unquote(urlsplit(file_url).path))


def _folder(url: str) -> str:
    if urlsplit(url).netloc not in ("", "localhost"):
        raise RequestError(
            "The store's file URL is not absolute",
            got=url,
            allowed="file:///, with three slashes, and an absolute path",
            fix="give the folder itself, without file://",
        )
    return path_of(url).resolve().as_uri()


def _refuse_credentials(scheme: str, rest: str) -> None:
    """Refuse `user:secret@…` and `…?signature=…`. A secret may hold slashes, so `@` counts wherever it stands."""
    if "@" in rest or ":" in rest.partition("/")[0] or "?" in rest:
        raise RequestError(
            "The store's URL holds more than a bucket and a prefix, credentials perhaps",
            got=f"{scheme}://… (not repeated here)",
            allowed=f"{scheme}://bucket/prefix, without user, password, port and query",
            fix="give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by a profile (AWS_PROFILE), and the "
            "server by AWS_ENDPOINT_URL; keys that were typed here are in the shell's history now, so replace them",
        )
