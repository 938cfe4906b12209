"""Jobs of kind `dataset`: datasets that are computed, such as the built-in `demo/*`."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from xtlray import catalog
from xtlray.chem.alloys import MiedemaAlloys, generate
from xtlray.data.fetch import about
from xtlray.data.ingest import Provenance, ingest_table
from xtlray.data.splits import Protocol
from xtlray.errors import unknown
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved, Say
from xtlray.settings import Settings
from xtlray.store import Store

GENERATORS = {"miedema-alloys": (MiedemaAlloys, generate)}


class DatasetSettings(Settings):
    """A generator by name; the other keys are its own."""

    model_config = ConfigDict(frozen=True, extra="allow")
    generator: str = Field(description="what computes the rows: " + ", ".join(GENERATORS))


def resolve(store: Store, name: str, settings: DatasetSettings, announce: Say) -> Resolved:
    """Check the generator's own settings."""
    if settings.generator not in GENERATORS:
        raise unknown("generator", settings.generator, GENERATORS)
    own = GENERATORS[settings.generator][0].parse(settings.model_extra or {}, f"generator {settings.generator}")
    identity = {"kind": "dataset", "name": name, "generator": settings.generator, **own.model_dump(mode="json")}
    return Resolved("dataset", name, settings, identity, {"own": own})


def plan(store: Store, job: Resolved) -> dict[str, Any]:
    """What would be made."""
    tables = GENERATORS[job.settings.generator][1](job.inputs["own"])  # seconds: the truth is as quick as a guess
    return {"rows": {name: len(table.formulas) for name, table in tables.items()}}


def execute(context: Context, job: Resolved) -> Outcome:
    """Compute the tables and ingest them into the store."""
    tables = GENERATORS[job.settings.generator][1](job.inputs["own"])
    for name, table in tables.items():
        card = ingest_table(
            context.store,
            name,
            formulas=table.formulas,
            values=table.values.tolist(),
            about=about(catalog.get(name)),
            protocol=Protocol.POOL,
            provenance=Provenance(origin=f"computed by the job {job.name}", notes=table.notes),
        )
        context.say(f"{name}: {card.rows} rows, data hash {card.data_hash[:12]}")
    return Outcome(extra={"datasets": sorted(tables)})


KIND = Kind("dataset", "compute datasets", DatasetSettings, resolve, plan, execute)
