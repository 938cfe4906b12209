"""The files that `--input` names, here or in an object store: one, all in a folder, or those that fit a pattern.

What counts of a file is its size and a tag that changes with its content, so that the same file is known again.
"""

from __future__ import annotations

import glob
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from xtlray.errors import RequestError, WorkError
from xtlray.store import Listed, Store
from xtlray.urls import expanded, path_of

ENDINGS = (".csv", ".csv.gz", ".parquet", ".pq")
"""Names of the files that are taken from a folder."""

_WILD = re.compile(r"[*?[]")
_BUFFER = 1 << 20  # bytes of one request to an object store, at least


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        url: its path, or its URL.
        size: its bytes.
        tag: another one where its content is another; of a local file, when it was last changed.
        store: URL of the bucket that it lies in; None for a local file.
        key: its key there.
    """

    url: str
    size: int
    tag: str
    store: str | None = None
    key: str = ""

    def open(self) -> BinaryIO:
        """Its bytes, from any place. Raises `WorkError` where this machine cannot read it."""
        if self.store is None:
            try:
                return open(self.url, "rb")
            except OSError as error:
                raise cannot_be_read(self.url, error) from error
        return io.BufferedReader(_Object(_opened(self.store), self.key, self.size), _BUFFER)

    def again(self) -> InputFile | None:
        """The file as it is now; None where it is not there any more. Raises `WorkError` as `open` does."""
        if self.store is None:
            path = Path(self.url)
            return _local(path) if path.is_file() else None
        return _entry(_opened(self.store), self.key)


def _opened(url: str) -> Store:
    """A store from which inputs were found. Raises `WorkError` where this machine, or by now, has no keys for it."""
    try:
        return Store(url)
    except RequestError as error:  # which is what tables are refused by, and this says nothing of them
        raise WorkError(error.what, got=f"{url}: {error.got}", allowed=error.allowed, fix=error.fix) from error


def cannot_be_read(url: str, error: OSError) -> WorkError:
    """The error for a file that may be a fine table, but not from here and now."""
    return WorkError(
        "An input file cannot be read",
        got=f"{url}: {error.strerror or error}",
        fix="see that it is there, may be read, and lies under this path on every machine that works",
    )


class _Object(io.RawIOBase):
    """An object in a store as a file that is read in ranges."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        self._store, self._key, self._size, self._at = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._at))
        data = self._store.get_range(self._key, self._at, length) if length else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def several(text: str) -> bool:
    """Whether `text` may name more than a file of this machine: a URL, a folder, a pattern."""
    if _remote(text):
        return True
    path = _path(text)
    return path.is_dir() or text.endswith("/") or (bool(_WILD.search(text)) and not path.exists())


def find_inputs(texts: Sequence[str], output: str) -> list[InputFile]:
    """The files that are meant, each once, in the order of the texts and sorted within one.

    Args:
        texts: paths or URLs of files and of folders, or patterns with `*`, `?`, `[…]` and `**`.
        output: URL of the folder that is written to; what lies in it is no input.

    Raises:
        RequestError: nothing is there, or only what lies in the output.
        StoreError: the store of a URL is out of reach, or refuses.
    """
    found: dict[str, InputFile] = {}
    for text in texts:
        if not text.strip():  # of a variable that is not set; it would mean all that lies here
            raise RequestError("An input has no name", got=repr(text), fix="name a file or a folder; this one is .")
        files = list(_objects(text) if _remote(text) else _files(text))
        if not files:
            raise RequestError(
                "There is no such input",
                got=text,
                allowed=f"a file, a folder that holds {', '.join(ENDINGS)}, a pattern such as s3://bucket/*.parquet",
            )
        kept = [file for file in files if not _inside(file, output)]
        if not kept:
            raise RequestError(
                "The input lies in the folder of the output", got=text, fix="choose another folder for --output"
            )
        for file in kept:
            if not file.url.isprintable():
                raise RequestError("The name of an input file cannot be shown", got=ascii(file.url), fix="rename it")
            found[file.url] = file
    return list(found.values())


def _remote(text: str) -> bool:
    return "://" in text and not text.startswith("file://")


def _path(text: str) -> Path:
    return path_of(text) if text.startswith("file://") else expanded(text)


def _inside(file: InputFile, output: str) -> bool:
    if output.startswith("file://"):
        return file.store is None and Path(file.url).resolve().is_relative_to(path_of(output).resolve())
    return file.url.startswith(f"{output}/")


def _files(text: str) -> Iterator[InputFile]:
    path = _path(text)
    for match in [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True))):
        if match.is_file():
            yield _local(match)
        else:
            inner = (each for each in match.rglob("*") if each.is_file())
            yield from (_local(each) for each in sorted(inner) if _is_table(each.relative_to(match).parts))


def _local(path: Path) -> InputFile:
    about = path.stat()
    return InputFile(str(path.absolute()), about.st_size, f"{about.st_mtime_ns:x}")


def _objects(text: str) -> Iterator[InputFile]:
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    store = Store.open(f"{scheme}://{bucket}")
    wanted = [part for part in key.split("/") if part]
    fixed = next((i for i, part in enumerate(wanted) if _WILD.search(part)), len(wanted))
    if fixed == len(wanted) and wanted and not key.endswith("/"):
        there = _entry(store, "/".join(wanted))
        if there is not None:
            yield there
            return
    for item in store.listing("/".join(wanted[:fixed])):
        inner = item.key.split("/")[fixed:]
        if _fits(inner, wanted[fixed:]) if fixed < len(wanted) else _is_table(inner):
            yield _object(store, item)


def _entry(store: Store, key: str) -> InputFile | None:
    item = store.entry(key)
    return None if item is None else _object(store, item)


def _object(store: Store, item: Listed) -> InputFile:
    return InputFile(f"{store.url}/{item.key}", item.size, item.tag or item.modified.isoformat(), store.url, item.key)


def _is_table(parts: Sequence[str]) -> bool:
    """Whether a file in a folder is taken: by its ending, and not one that programs hide or keep for themselves."""
    return parts[-1].lower().endswith(ENDINGS) and not any(part.startswith((".", "_")) for part in parts)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a key, part by part, fits a pattern, in which `**` stands for any number of parts."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
