"""A store as pyarrow's filesystem, for Ray and Ray Data.

pyarrow's own S3 filesystem takes its keys along when it travels to another process, and Ray keeps what travels. This
one takes the store's URL alone; where it arrives, it finds endpoint and keys in that machine's environment, as a
`Store` does. And pyarrow's marks folders by empty objects, which look like keys; here there are no folders.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from pyarrow import fs

from xtlray import credentials
from xtlray.store import Store
from xtlray.urls import path_of

_ATTEMPTS = 8


class StoreFiles(fs.FileSystemHandler):
    """Hands every call to the filesystem that pyarrow has for the store at `url`. Pickles as its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._own: tuple[Any, fs.FileSystem] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (StoreFiles, (self.url,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreFiles) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def files(self) -> fs.FileSystem:
        """pyarrow's own filesystem, made anew when the keys have changed."""
        arguments = arguments_of(self.url)
        with self._lock:
            if self._own is None or self._own[0] != arguments:
                self._own = (arguments, filesystem(self.url, arguments))
            return self._own[1]

    @property
    def _store(self) -> Store:
        return Store(self.url)

    def _key(self, path: str) -> str:
        """The key under which a path lies. Raises `ValueError` for one outside of the store."""
        root = root_of(self.url)
        if not path.startswith(f"{root}/"):
            raise ValueError(f"{path} is not a path in {root}")
        return path[len(root) + 1 :].strip("/")

    def get_type_name(self) -> str:
        return "xtlray"

    def normalize_path(self, path: str) -> str:
        return self.files.normalize_path(path)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return self.files.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return self.files.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing: a folder is there once something lies in it."""

    def delete_dir(self, path: str) -> None:
        self.delete_dir_contents(path, missing_dir_ok=True)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        keys = self._store.list(self._key(path))
        if not keys and not missing_dir_ok:
            raise FileNotFoundError(path)
        self._store.delete(keys)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("a whole bucket is not emptied by this road")

    def delete_file(self, path: str) -> None:
        key = self._key(path)
        if not self._store.exists(key):
            raise FileNotFoundError(path)
        self._store.delete([key])

    def move(self, src: str, dest: str) -> None:
        self.files.copy_file(src, dest)
        self._store.delete([self._key(src)])

    def copy_file(self, src: str, dest: str) -> None:
        self.files.copy_file(src, dest)

    def open_input_stream(self, path: str) -> Any:
        return self.files.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        return self.files.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return self.files.open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        return self.files.open_append_stream(path, metadata=metadata)


def arguments_of(url: str) -> dict[str, Any]:
    """What pyarrow's filesystem for that store takes. It may hold keys: never to be shown or kept."""
    if url.startswith("s3://"):
        return credentials.access().arrow()
    if url.startswith("az://"):
        names = {
            "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
            "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
            "sas_token": "AZURE_STORAGE_SAS_TOKEN",
        }
        return {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}
    return {}


def filesystem(url: str, arguments: dict[str, Any]) -> fs.FileSystem:
    """pyarrow's filesystem for the store at `url`."""
    if url.startswith("s3://"):
        credentials.set_checksums()
        # By its own measure a server that is silent for three seconds is gone, and after ten it gives up.
        return fs.S3FileSystem(
            **arguments,
            connect_timeout=5,
            request_timeout=30,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        )
    return fs.GcsFileSystem(**arguments) if url.startswith("gs://") else fs.AzureFileSystem(**arguments)


def root_of(url: str) -> str:
    """The path of a store in pyarrow's filesystem."""
    return str(path_of(url)) if url.startswith("file://") else url.partition("://")[2]


def filesystem_of(url: str) -> fs.FileSystem:
    """A filesystem that may travel, with the store at `url` in it."""
    return fs.LocalFileSystem() if url.startswith("file://") else fs.PyFileSystem(StoreFiles(url))
