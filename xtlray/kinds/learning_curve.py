"""Jobs of kind `learning_curve`: error against training rows, for each method."""

from __future__ import annotations

from typing import Any

from xtlray.data.dataset import open_dataset
from xtlray.kinds import transfer
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved, Say
from xtlray.pipeline import learning_curve
from xtlray.store import Store
from xtlray.transfer.curve import CurveSettings, sizes


def resolve(store: Store, name: str, settings: CurveSettings, announce: Say) -> Resolved:
    """As a transfer job."""
    found = transfer.resolve(store, name, settings, announce)
    identity = {**found.identity, "kind": "learning_curve"}
    return Resolved("learning_curve", name, found.settings, identity, found.inputs)


def plan(store: Store, job: Resolved) -> dict[str, Any]:
    """How many rows each point has."""
    settings: CurveSettings = job.settings
    splits = {name: open_dataset(store, name, value).card.splits for name, value in job.inputs["data"].items()}
    rows = {name: counts.get("train", 0) + counts.get("val", 0) for name, counts in splits.items()}
    found = {name: sizes(settings.fewest, settings.points, n) for name, n in rows.items()}
    draws = {name: (len(points) - 1) * settings.repeats + 1 for name, points in found.items()}
    return {"points": found, "draws": draws, "methods": list(settings.methods)}


def execute(context: Context, job: Resolved) -> Outcome:
    """Fit, score, draw."""
    inputs = job.inputs
    points, files = learning_curve(
        context.store,
        context.attempt,
        job.settings,
        inputs["data"],
        inputs["sources"],
        context.session,
        context.say,
    )
    return Outcome(failed=not points, extra={"points": points, **files})


KIND = Kind("learning_curve", "error against training rows", CurveSettings, resolve, plan, execute)
