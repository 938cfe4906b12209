"""How a published model was made, as its card tells: the training history, and the environment that it ran in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xtlray import provenance
from xtlray.records import ModelCard


def training_history(card: ModelCard) -> list[dict[str, Any]]:
    """One row per epoch; of a model of several fits, with what tells them apart (`seed`, `fold`, `trial`) in front.

    A fit without epochs, such as that of a regressor, has one row. Errors are MAEs in the unit of the first property.
    """
    rows: list[dict[str, Any]] = []
    for entry in card.history:
        epochs = entry.get("epochs")
        if not isinstance(epochs, list):
            rows.append(entry)
            continue
        of_fit = {key: value for key, value in entry.items() if key != "epochs"}
        rows += [{**of_fit, **epoch} for epoch in epochs or [{}] if isinstance(epoch, Mapping)]
    return rows


def environment(card: ModelCard) -> dict[str, Any]:
    """Where a model was made: `created`, `run`, `commit`, `hardware`, `platform` … and the `versions` of libraries."""
    return {
        "model": f"{card.name}@{card.version}",
        "created": card.created,
        "run": card.run,
        "commit": card.commit,
        "hardware": card.hardware,
        **card.environment,
        "versions": dict(card.versions),
    }


def beside_here(made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The versions that a model was made with beside those of this program: `library`, `made_with`, `here`, `same`."""
    then, here = made["versions"], provenance.versions()
    names = [*then, *(name for name in here if name not in then)]
    return [
        {"library": name, "made_with": then.get(name), "here": here.get(name), "same": then.get(name) == here.get(name)}
        for name in names
    ]
