"""Looking around in the library: rows for a listing, and the check that a model is what its card says."""

from __future__ import annotations

from typing import Any

import numpy as np

from xtlray.errors import StoreError
from xtlray.registry.model import load_model
from xtlray.registry.versions import ModelRef, alias_history, aliases_of, complete_versions
from xtlray.store import Store, builtin

_COLUMNS = (
    "model", "aliases", "property", "properties", "unit", "method", "source", "members", "val_mae", "test_mae", "run",
    "created", "problem",
)  # fmt: skip


def list_models(store: Store) -> list[dict[str, Any]]:
    """One row per model version; one whose card is damaged has its `problem` and hides no other.

    Unit and errors are of the first of a model's `properties`.
    """
    refs = [ModelRef(home, name, version) for home in (store, builtin()) for name, version in complete_versions(home)]
    return [_row(ref) for ref in refs]


def _row(ref: ModelRef) -> dict[str, Any]:
    try:
        card = ref.card()
    except StoreError as error:
        return {**dict.fromkeys(_COLUMNS), "model": str(ref), "aliases": _aliases(ref), "problem": str(error)}
    metrics = card.metrics
    values = (
        str(ref),
        _aliases(ref),
        card.property,
        [answer.name for answer in card.answers()],
        card.unit,
        card.method,
        card.source_model,
        len(card.members),
        metrics["val"].mae if "val" in metrics else None,
        metrics["test"].mae if "test" in metrics else None,
        card.run,
        card.created,
        None,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _aliases(ref: ModelRef) -> list[str]:
    folder = f"models/{ref.name}/aliases"
    found = []
    for alias in aliases_of(ref.store, ref.name):
        entry = ref.store.newest(f"{folder}/{alias}")
        if entry and entry[1]["version"] == ref.version:
            found.append(alias)
    return found


def describe(ref: ModelRef) -> dict[str, Any]:
    """The card with the history of the model's aliases."""
    aliases = {name: alias_history(ref.store, ref.name, name) for name in aliases_of(ref.store, ref.name)}
    return {**ref.card().as_json(), "aliases": aliases}


def verify(ref: ModelRef) -> dict[str, Any]:
    """Hash every file again, rebuild the model, let it predict each element that it has seen, each property.

    Raises:
        StoreError: what is wrong, at the first fault.
    """
    model = load_model(ref)
    seen = [element for element in model.card.elements_encoded if model.card.elements_seen.get(element)]
    answers = [(name, row) for name in model.properties for row in model.predictions(seen, name)]
    bad = [(name, row.formula) for name, row in answers if row.value is None or not np.isfinite(row.value)]
    if bad:
        formulas = ", ".join(formula for name, formula in bad[:5] if name == bad[0][0])
        raise StoreError("The model does not answer with a number", got=f"{ref}: {formulas} ({bad[0][0]})")
    return {"model": str(ref), "status": "ok", "files": len(model.card.files), "predictions_checked": len(answers)}
