"""Runs for tests of the tables: made in a store, and what the tables then have of them, read by delta-rs alone."""

from __future__ import annotations

from typing import Any

from deltalake import DeltaTable

from tests.leaderboard.test_fold import keep, result
from tests.leaderboard.test_rows import trial
from xtlray.leaderboard.rows import RESULTS, TRIALS, Layout
from xtlray.leaderboard.tables import open_table
from xtlray.store import Store

RUNS = ("run-00000001", "run-00000002")


def finish(store: Store, run: str) -> None:
    store.create_json(f"runs/{run}/attempts/1/environment.json", {"started": "2026-01-01T00:00:00Z"})
    store.create_json(f"runs/{run}/outcome.json", {"attempt": 1, "seconds": 60.2})


def publish(store: Store, run: str, method: str, model: str, created: str = "2026-01-01T00:00:30Z") -> None:
    name, _, version = model.partition("@")
    decision = {"name": name, "version": int(version), "result": f"{method}.json", "card": {"created": created}}
    store.create_json(f"runs/{run}/published/{name}.json", decision)
    store.create_json(f"models/{name}/{version}/card.json", {})


def fill(store: Store, run: str, methods: tuple[str, ...] = ("base", "sc-dl-ef"), trials: int = 3) -> None:
    for n in range(trials):
        store.create_json(f"runs/{run}/trials/t{n}.json", trial(f"t{n}", run=run, val_mae=n / 3).as_json())
    for n, method in enumerate(methods):
        keep(store, method, result(method=method, run=run, val_mae=1 / (n + 3), config={"lr": [0.1]}))


def rows_of(store: Store, layout: Layout) -> list[dict[str, Any]]:
    """All rows, read by delta-rs alone, sorted."""
    found = DeltaTable(store.url_of(layout.folder)).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: (row["run"], row[layout.key]))


def rows_by_us(store: Store) -> list[dict[str, Any]]:
    found = open_table(store, RESULTS)
    assert found is not None
    return found.rows(["run"])


def names_of(store: Store, layout: Layout) -> list[tuple[str, str]]:
    return [(row["run"], row[layout.key]) for row in rows_of(store, layout)]


EVERY_RESULT = [(run, name) for run in RUNS for name in ("base.json", "sc-dl-ef.json")]
EVERY_TRIAL = [(run, f"t{n}") for run in RUNS for n in range(3)]


def versions(store: Store) -> list[int]:
    return [DeltaTable(store.url_of(layout.folder)).version() for layout in (TRIALS, RESULTS)]
