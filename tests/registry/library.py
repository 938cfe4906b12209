"""A library of models that are cards alone: as much as its index and a search look at."""

from __future__ import annotations

from functools import cache
from typing import Any

from xtlray.records import Member, ModelCard, SplitMetrics
from xtlray.registry import index
from xtlray.registry.manifests import Version
from xtlray.registry.reading import all_rows
from xtlray.store import Store


@cache
def _template() -> dict[str, Any]:
    return ModelCard(
        name="user/gap",
        version=1,
        property="user/gap",
        label="band gap",
        unit="eV",
        elements_encoded=["Fe", "O"],
        elements_seen={"Fe": 3, "O": 2},
        members=[Member(kind="net", net={"name": "elemnet"})],
        method="pretrain",
        dataset={"name": "user/gap", "splits": {"train": 90}},
        metrics={"val": SplitMetrics(rows=9, mae=0.5), "test": SplitMetrics(rows=8, mae=0.6)},
        run="run-00000001",
        job={},
        commit="abc",
        versions={"python": "3"},
        hardware="a computer",
        created="2026-01-01T00:00:00Z",
        files={},
    ).as_json()


def card(name: str = "user/gap", version: int = 1, **changes: Any) -> dict[str, Any]:
    """A card as JSON."""
    return {**_template(), "name": name, "version": version, **changes}


def errors(val: float | None, test: float | None) -> dict[str, Any]:
    """Metrics of a card."""
    found = {"val": SplitMetrics(rows=9, mae=val)} if val is not None else {}
    return {k: m.as_json() for k, m in {**found, **({"test": SplitMetrics(rows=8, mae=test)} if test else {})}.items()}


def put(store: Store, name: str = "user/gap", version: int = 1, **changes: Any) -> None:
    """Publish a card, as publishing does it."""
    with index.publishing(store, name, version):
        store.create_json(index.card_key((name, version)), card(name, version, **changes))


def remove(store: Store, name: str, version: int) -> None:
    """Delete a card, as deleting does it."""
    index.note_deleted(store, name, version)
    store.delete([index.card_key((name, version))])


def found(store: Store) -> set[Version]:
    """The versions that a search finds, those of the package left out."""
    rows = all_rows(store).to_pylist()
    return {(row["name"], row["version"]) for row in rows if not row["name"].startswith("builtin/")}
