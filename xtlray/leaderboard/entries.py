"""The results of a run as they lie in the store, with the models that they were published as: what is true."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from xtlray.errors import MissingKeyError, StoreError
from xtlray.leaderboard.rows import Entry, moment
from xtlray.records import ResultRecord
from xtlray.store import Store

AT_ONCE = 16  # questions to the store
_FEW = 3  # versions of a model that are asked for one by one on an object store


def result_names(store: Store, run: str) -> list[str]:
    """The file names of a run's results, sorted."""
    return [name for name in store.children(f"runs/{run}/results/transfer") if name.endswith(".json")]


def read_entries(store: Store, run: str) -> list[Entry]:
    """The results of a run, by file name.

    Raises:
        StoreError: one of them is damaged.
    """
    finished = finished_at(store, run)  # first: of a run that was finished then, all that follows is final
    models = published_as(store, run)
    names = result_names(store, run)
    found = []
    for name, data in zip(names, store.get_all([f"runs/{run}/results/transfer/{name}" for name in names]), strict=True):
        key = f"runs/{run}/results/transfer/{name}"
        if data is not None:  # deleted a moment ago
            model, published = models.get(name, (None, None))
            record = ResultRecord.read(parsed(data, key), key).model_copy(update={"model": model})
            found.append(Entry(name, record, published, finished))
    return found


def published_as(store: Store, run: str) -> dict[str, tuple[str, datetime | None]]:
    """What a run has decided to publish: by the result's file name, `name@version` and when the model was made.

    Where a version was deleted since and another was made, the last holds.
    """
    found = {}
    keys = sorted(store.list(f"runs/{run}/published"), key=lambda key: (len(key), key))  # <name>.json, <name>/2.json
    for key, data in zip(keys, store.get_all(keys), strict=True):
        entry = parsed(data, key) if data is not None else None
        if isinstance(entry, dict) and entry.get("result") and {"name", "version"} <= entry.keys():
            card = entry.get("card")
            made = moment(card.get("created")) if isinstance(card, dict) else None
            found[entry["result"]] = (f"{entry['name']}@{entry['version']}", made)
    return found


def finished_at(store: Store, run: str) -> datetime | None:
    """When a run was finished: it says when it was started and how long it took. None while it is not."""
    try:
        outcome = store.get_json(f"runs/{run}/outcome.json")
        began = store.get_json(f"runs/{run}/attempts/{outcome['attempt']}/environment.json")["started"]
        started = moment(began)
        return started and started + timedelta(seconds=round(outcome["seconds"]))
    except (MissingKeyError, KeyError, TypeError, OverflowError):  # not finished, or by a very old xtlray
        return None


def still_there(store: Store, models: Iterable[str]) -> set[str]:
    """Those of the models, each `name@version`, that have not been deleted, nor were left half-made."""
    versions: dict[str, list[str]] = {}
    for model in models:
        name, _, version = model.rpartition("@")
        versions.setdefault(name, []).append(version)

    def look(name: str) -> set[str]:
        cards = {f"models/{name}/{version}/card.json": f"{name}@{version}" for version in versions[name]}
        if store.local_path is None and len(cards) > _FEW:  # one listing answers for all
            return {cards[key] for key in store.list(f"models/{name}") if key in cards}
        return {cards[key] for key in cards if store.exists(key)}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return set().union(*pool.map(look, versions))


def as_results(store: Store, entries: Iterable[Entry]) -> list[ResultRecord]:
    """The records, with the models that are still there."""
    entries = list(entries)
    there = still_there(store, {entry.record.model for entry in entries if entry.record.model})
    return [
        entry.record.model_copy(update={"model": None})
        if entry.record.model and entry.record.model not in there
        else entry.record
        for entry in entries
    ]


def dates(entries: Iterable[Entry]) -> Mapping[tuple[str, str, str, str | None], datetime]:
    """When each result was published, else when its run was finished: by run, target, method and source."""
    found = {}
    for entry in entries:
        date, record = entry.published or entry.finished, entry.record
        if date:
            found[(record.run, record.target, record.method, record.source)] = date
    return found


def parsed(data: bytes, key: str) -> Any:
    """The JSON value that lies under a key. Raises `StoreError` where it is none."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise StoreError(
            "A file in the store is not the JSON that it should be",
            got=f"{key}: {error}",
            fix="restore the file, or remove what it belongs to and make it again",
        ) from error
