"""What datasets there are, known by name or found in the store, as plain rows for tables and programs."""

from __future__ import annotations

from typing import Any

from xtlray import catalog
from xtlray.data.dataset import Dataset, known_datasets, open_dataset
from xtlray.errors import StoreError, unknown
from xtlray.records import SPLITS
from xtlray.store import Store


def names(store: Store) -> list[str]:
    """Every dataset of the catalog, in its order, then the others that lie in the store, sorted."""
    known = list(catalog.datasets())
    return known + [name for name in known_datasets(store) if name not in catalog.datasets()]


def overview(store: Store) -> list[dict[str, Any]]:
    """One row per dataset: name, property, label, unit, rows and splits.

    Rows and splits are None where a dataset is not in the store yet. `problem` says what is wrong with one that
    cannot be read, so that it does not hide the others.
    """
    here = set(known_datasets(store))
    rows = []
    for name in names(store):
        try:
            rows.append(row(name, open_dataset(store, name) if name in here else None))
        except StoreError as error:
            rows.append(row(name, None) | {"problem": str(error)})
    return rows


def row(name: str, dataset: Dataset | None) -> dict[str, Any]:
    """The row of one dataset; None where it is not in the store."""
    info = catalog.datasets().get(name)
    card, report = (dataset.card, dataset.ingest) if dataset else (None, None)
    return {
        "name": name,
        "property": name.partition("/")[2],
        "label": card.label if card else info.label if info else None,
        "unit": card.unit if card else info.unit if info else None,
        "rows_read": report.rows_read if report else None,
        "rows_kept": report.rows_kept if report else None,
        "rows_rejected": report.rows_rejected if report else None,
        "splits": {split: card.splits.get(split, 0) for split in SPLITS} if card else None,
        "data_hash": card.data_hash if card else None,
        "problem": None,
    }


def fetchable(name: str) -> bool:
    """Whether `xtlray data fetch` can get it: it is known by name, and has published files."""
    info = catalog.datasets().get(name)
    return bool(info and info.files)


def details(store: Store, name: str) -> dict[str, Any]:
    """All there is to know of one dataset: its row, how it was read and cut, where it is from, published figures.

    Raises:
        UnknownNameError: neither the catalog nor the store knows the name.
        StoreError: its card is damaged.
    """
    if name not in names(store):
        raise unknown("dataset", name, names(store), fix="see xtlray data list")
    dataset = open_dataset(store, name) if name in known_datasets(store) else None
    found = row(name, dataset)
    del found["problem"]
    return found | _described(name, dataset) | (_read(dataset) if dataset else {})


def _described(name: str, dataset: Dataset | None) -> dict[str, Any]:
    """What is said of a dataset: by its card where there is one (it was true of those rows), else by the catalog."""
    info = catalog.datasets().get(name)
    said = dataset.card if dataset else info
    return {
        "unit_note": info.unit_note if info else None,
        "plausible": list(info.plausible) if info and info.plausible else None,
        "warning": said.warning if said else None,
        "description": said.description if said else None,
        "source": said.source if said else None,
        "licence": said.licence if said else None,
        "citation": said.citation if said else None,
        "reference_mae": info.reference.model_dump() if info and info.reference else None,
    }


def _read(dataset: Dataset) -> dict[str, Any]:
    card, report = dataset.card, dataset.ingest
    return {
        "split_protocol": card.split_protocol,
        "split_id": card.split_id,
        "rows_outside_plausible": card.rows_outside_plausible,
        "compositions": card.compositions,
        "elements": dict(card.elements),
        "target": dict(card.target),
        "origin": report.origin,
        "retrieved": report.retrieved,
        "files": [file.as_json() for file in report.files],
        "notes": list(report.notes),
        "rejections": [rejection.as_json() for rejection in report.rejections],
        "rejected_file": dataset.store.url_of(f"{dataset.folder}/{report.rejected_file}")
        if report.rejected_file
        else None,
        "xtlray_version": card.xtlray_version,
    }
