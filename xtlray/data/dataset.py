"""Load a dataset version: its card, how it was read, and the rows of each split, ready for a net.

Shards are checked against the card's SHA-256 and decoded straight into flat arrays: no object per row, so a million
rows a second become the input of a net on one core. Shapes: B rows, E elements.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xtlray import catalog
from xtlray.chem.formula import Compositions
from xtlray.chem.fractions import FractionEncoder
from xtlray.data import shards
from xtlray.errors import MissingKeyError, RequestError, StoreError, unknown
from xtlray.names import is_dataset_name
from xtlray.records import DatasetCard, DatasetPointer, IngestReport, Part, Split
from xtlray.store import Store, builtin

_FETCH = "xtlray data fetch NAME gets one from the catalog, xtlray data list shows which there are"


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one split, in canonical order (formula, value).

    Attributes:
        y_B: float64 targets, in the dataset's unit.
        compositions: of the formulas; fractions in float32.
    """

    dataset: Dataset
    split: Split
    y_B: np.ndarray
    compositions: Compositions

    def __len__(self) -> int:
        return len(self.y_B)

    @cached_property
    def formulas(self) -> list[str]:
        """The formulas as they were given; read from the shards when first asked for."""
        parts = self.dataset.parts(self.split)
        return [text for part, data, key in parts for text in shards.read_formulas(data, part, key)]

    def encode(self, encoder: FractionEncoder) -> tuple[np.ndarray, np.ndarray, int]:
        """The input of a net.

        Returns:
            `x_BE` (float32) of the rows that the encoder can encode, their places among these rows (so that
            `y_B[kept]` are their targets), and how many were skipped for an element that it does not know.
        """
        able = encoder.encodable(self.compositions)
        kept = np.flatnonzero(able)
        skipped = len(self) - len(kept)
        chosen = self.compositions.take(kept) if skipped else self.compositions
        return encoder.encode(chosen), kept, skipped


@dataclass(frozen=True)
class Dataset:
    """One version of a dataset, in the store where it lies.

    Attributes:
        card: what this version is.
        ingest: how the rows were read, the latest time that they were.
    """

    store: Store
    card: DatasetCard
    ingest: IngestReport

    @property
    def folder(self) -> str:
        return _folder(self.card.name, self.card.data_hash)

    def rows(self, split: Split) -> Rows:
        """The rows of `split`; none if the dataset has none there.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        read = [shards.read(data, part, key) for part, data, key in self.parts(split)]
        y_B = np.concatenate([values for values, _ in read]) if read else np.zeros(0)
        return Rows(self, split, y_B, Compositions.concatenate([found for _, found in read]))

    def parts(self, split: Split) -> Iterable[tuple[Part, bytes, str]]:
        """Entry, bytes and key of each shard of `split`, one after another."""
        for part in self.card.parts:
            if part.split != split:
                continue
            key = f"{self.folder}/{part.file}"
            yield part, get_shard(self.store, key), key


def get_shard(store: Store, key: str) -> bytes:
    """The bytes of the shard `key`. Raises `StoreError` where it is missing."""
    try:
        return store.get(key)
    except MissingKeyError as error:
        raise StoreError(
            f"A shard of {'/'.join(key.split('/')[1:3])} is missing",
            got=f"{key} in {store.url}",
            fix="remove the dataset's folder and fetch or ingest it again",
        ) from error


def open_dataset(store: Store, name: str, data_hash: str | None = None) -> Dataset:
    """The dataset `name`, from `store` or else from the package.

    Args:
        store: where to look first.
        name: `<source>/<property>`.
        data_hash: a certain version; None is the one that the name means now.

    Raises:
        UnknownNameError: there is none of that name, or no such version of it.
        RequestError: it is in the catalog, but has not been fetched.
        StoreError: its card is missing or damaged.
    """
    if not is_dataset_name(name):  # and so no key of the store either
        raise unknown("dataset", name, known_datasets(store), fix=_FETCH)
    for place in (store, builtin()):
        found = _open(place, name, data_hash)
        if found is not None:
            return found
    if data_hash is not None:
        versions = [v for place in (store, builtin()) for v in place.children(f"datasets/{name}") if v != "current"]
        if versions:
            raise unknown(f"version of {name}", data_hash, versions, fix="ingest or fetch these rows again")
    if name in catalog.datasets():
        raise RequestError("The dataset is known but not here", got=name, fix=f"xtlray data fetch {name}")
    raise unknown("dataset", name, known_datasets(store), fix=_FETCH)


def known_datasets(store: Store) -> list[str]:
    """The names of all datasets in `store` and in the package, sorted."""
    keys = [key.split("/") for place in (store, builtin()) for key in place.list("datasets")]
    return sorted({f"{key[1]}/{key[2]}" for key in keys if len(key) == 5 and key[3] == "current"})


def _open(store: Store, name: str, data_hash: str | None) -> Dataset | None:
    newest = store.newest(f"datasets/{name}/current")
    pointer = None
    if newest is not None:
        pointer = DatasetPointer.read(newest[1], f"datasets/{name}/current/{newest[0]}.json")
    wanted = data_hash or (pointer.data_hash if pointer else None)
    if wanted is None:
        return None
    key = f"{_folder(name, wanted)}/card.json"
    if data_hash is not None and not store.exists(key):
        return None
    card = DatasetCard.read(store.get_json(key), key)
    counted = sum(part.rows for part in card.parts)
    if counted != card.rows:
        raise StoreError(
            "A dataset's card contradicts itself",
            got=f"{key} in {store.url}: {card.rows:,} rows, {counted:,} in its shards",
            fix="remove the dataset's folder and fetch or ingest it again",
        )
    latest = pointer.ingest if pointer and pointer.data_hash == wanted else card.ingest
    return Dataset(store, card, latest)


def _folder(name: str, data_hash: str) -> str:
    return f"datasets/{name}/{data_hash}"
