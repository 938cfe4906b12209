"""Where a catalog dataset's files come from: its publishers' repositories, or a mirror (a folder or a web address).

A mirror holds `<source>/<property>.csv.gz`, or `<source>/<property>.train.csv.gz` and `.test.csv.gz` where a split is
published. It may lack a test file; the dataset is then cut without test rows, and its card says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from xtlray.catalog import DatasetInfo
from xtlray.data.download import NotThereError, Patience, cache_folder, download
from xtlray.data.proof import DownloadError, is_git_blob, is_intact_gzip
from xtlray.errors import RequestError
from xtlray.records import Split

GITHUB_VARIABLE = "XTLRAY_GITHUB_RAW"
GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Located:
    """A file that is here now.

    Attributes:
        path: where it lies.
        name: what the card calls it.
        split: the published side of its rows, None where they are to be cut anew.
    """

    path: Path
    name: str
    split: Split | None


@dataclass(frozen=True)
class Published:
    """The publishers' repositories on GitHub; every file is proven by its git blob id.

    Attributes:
        base_url: what stands for https://raw.githubusercontent.com, for networks that reach it by another address.
    """

    base_url: str = GITHUB
    patience: Patience | None = None

    def files(self, info: DatasetInfo) -> list[Located]:
        """All published files of a dataset, downloaded where they are not in the cache. Raises `DownloadError`."""
        found = []
        for file in info.files:
            name = f"{file.repository}/{file.commit}/{file.path}"
            path = download(
                f"{self.base_url.rstrip('/')}/{quote(name)}",
                cache_folder() / "github" / name,
                is_git_blob(file.git_blob),
                pinned=True,
                patience=self.patience,
            )
            found.append(Located(path, file.path, file.split if info.protocol == "published" else None))
        return found

    def describe(self, info: DatasetInfo) -> str:
        places = sorted({f"{file.repository} at commit {file.commit[:12]}" for file in info.files})
        return "published files of https://github.com/" + " and ".join(places)


@dataclass(frozen=True)
class FolderMirror:
    """A folder laid out as a mirror."""

    folder: Path

    def files(self, info: DatasetInfo) -> list[Located]:
        """The mirror's files of a dataset. Raises `DownloadError` where one that must be there is missing or broken."""
        found = []
        for name, split in _layout(info):
            path = self.folder / name
            if path.is_file():
                is_intact_gzip(path)
                found.append(Located(path, name, split))
            elif split != "test":
                raise _missing(name, str(self.folder))
        return found

    def describe(self, info: DatasetInfo) -> str:
        return f"the mirror {self.folder}"


@dataclass(frozen=True)
class WebMirror:
    """A web address laid out as a mirror; files that have not changed are not downloaded again."""

    url: str
    patience: Patience | None = None

    def files(self, info: DatasetInfo) -> list[Located]:
        """The mirror's files of a dataset. Raises `DownloadError` where one that must be there is missing or broken."""
        found = []
        # One cache folder per address: two mirrors may hold different rows under one name.
        folder = cache_folder() / "mirrors" / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        for name, split in _layout(info):
            try:
                path = download(
                    f"{self.url}/{quote(name)}", folder / name, is_intact_gzip, pinned=False, patience=self.patience
                )
            except NotThereError as error:
                if split != "test":
                    raise _missing(name, self.url) from error
            else:
                found.append(Located(path, name, split))
        return found

    def describe(self, info: DatasetInfo) -> str:
        return f"the mirror {self.url}"


Origin = Published | FolderMirror | WebMirror


def open_origin(where: str | os.PathLike[str] | None, base_url: str | None = None) -> Origin:
    """What `--from` means: None the publishers, else a folder or an address that begins with http://, https:// or file://.

    Args:
        where: the folder or address.
        base_url: see `Published`; by default `$XTLRAY_GITHUB_RAW`, else GitHub itself.

    Raises:
        RequestError: the folder does not exist or is none, or the scheme is another.
    """
    if where is None:
        return Published(base_url or os.environ.get(GITHUB_VARIABLE) or GITHUB)
    text = os.fspath(where)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme in ("http", "https"):
        return WebMirror(text.rstrip("/"))
    folder = Path(text.removeprefix("file://")).expanduser()
    if scheme not in ("", "file") or not folder.is_dir():
        raise RequestError(
            "That is no place to fetch datasets from",
            got=text,
            allowed="an existing folder, or an address that begins with http:// or https://",
            fix="mend --from, or leave it out to fetch from the publishers",
        )
    return FolderMirror(folder.resolve())


def notes(info: DatasetInfo, origin: Origin, rows: Sequence[tuple[Split | None, int]]) -> list[str]:
    """What a reader of the card should know about the files, `rows` being the side and the number of rows of each."""
    if isinstance(origin, Published):
        return []
    if info.protocol == "pool":
        return [
            f"a mirror's file may hold fewer rows than the {len(info.files)} published ones, whose number is not known"
        ]
    said = []
    for side, published in zip(("train", "test"), info.rows, strict=True):
        found = sum(count for split, count in rows if split == side)
        if side == "test" and not found:
            said.append("no published test file here: cut without test rows")
        elif published is not None and found != published:
            said.append(f"{found:,} of the {published:,} published {side} rows")
    return said


def _layout(info: DatasetInfo) -> list[tuple[str, Split | None]]:
    if info.protocol == "pool":
        return [(f"{info.name}.csv.gz", None)]
    return [(f"{info.name}.train.csv.gz", "train"), (f"{info.name}.test.csv.gz", "test")]


def _missing(name: str, where: str) -> DownloadError:
    return DownloadError(
        "The mirror lacks a file", got=f"{name} in {where}", fix="complete the mirror, or fetch from the publishers"
    )
