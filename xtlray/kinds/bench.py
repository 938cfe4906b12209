"""Jobs of kind `bench`: measurements, which print a table and leave `bench.json` in their attempt's folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field, PositiveInt

from xtlray.bench.loading import loading
from xtlray.data.dataset import open_dataset
from xtlray.errors import unknown
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved, Say
from xtlray.settings import Settings
from xtlray.store import Store

BENCHES: dict[str, Callable[..., dict[str, Any]]] = {"loading": loading}


class BenchSettings(Settings):
    """A measurement and what to measure it on."""

    bench: str = Field(description="what to measure: " + ", ".join(BENCHES))
    dataset: tuple[str, ...] = Field(min_length=1, description="datasets to measure on")
    repeats: PositiveInt = Field(5, description="how often; the figures are medians")


def resolve(store: Store, name: str, settings: BenchSettings, announce: Say) -> Resolved:
    """Look up the data."""
    if settings.bench not in BENCHES:
        raise unknown("bench", settings.bench, BENCHES)
    data = {each: open_dataset(store, each).card.data_hash for each in settings.dataset}
    identity = {"kind": "bench", "name": name, **settings.identity(), "data": data}
    return Resolved("bench", name, settings, identity, {"data": data})


def plan(store: Store, job: Resolved) -> dict[str, Any]:
    """Rows and repeats."""
    rows = sum(open_dataset(store, name).card.rows for name in job.settings.dataset)
    return {"bench": job.settings.bench, "rows": rows, "repeats": job.settings.repeats}


def execute(context: Context, job: Resolved) -> Outcome:
    """Measure, and leave the figures beside the attempt."""
    figures = BENCHES[job.settings.bench](context.store, job.settings.dataset, job.settings.repeats)
    key = f"{context.attempt.folder}/bench.json"
    context.store.create_json(key, figures)
    return Outcome(extra={"bench": figures, "bench_file": context.store.url_of(key)})


KIND = Kind("bench", "measure", BenchSettings, resolve, plan, execute, always_new=True)
