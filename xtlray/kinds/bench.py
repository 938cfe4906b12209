"""Jobs of kind `bench`: measurements, which print a table and leave `bench.json` in their attempt's folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import Field

from xtlray.bench.bench import Bench, Place
from xtlray.data.dataset import open_dataset
from xtlray.errors import unknown
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved, Say
from xtlray.settings import Settings
from xtlray.store import Store

# Module and attribute, imported when a job names it: what one of them needs, the others need not wait for.
BENCHES: dict[str, str] = {
    "chaos": "xtlray.bench.chaos:BENCH",
    "library": "xtlray.bench.library:BENCH",
    "loading": "xtlray.bench.loading:BENCH",
    "predicting": "xtlray.bench.predicting:BENCH",
    "pretrain": "xtlray.bench.pretrain:BENCH",
    "scale": "xtlray.bench.scale:BENCH",
    "sweep": "xtlray.bench.sweep:BENCH",
}


def get_bench(name: str) -> Bench:
    """The benchmark of that name. Raises `UnknownNameError` with the nearest names."""
    if name not in BENCHES:
        raise unknown("bench", name, BENCHES)
    module, _, attribute = BENCHES[name].partition(":")
    bench: Bench = getattr(import_module(module), attribute)
    return bench


class BenchSettings(Settings):
    """Which benchmark; the rest of the keys is its own."""

    bench: str = Field(description="what to measure: " + ", ".join(BENCHES))

    @classmethod
    def parse(cls, value: Mapping[str, Any], where: str) -> Any:
        """The settings of the benchmark that is named. Raises `RequestError` as `Settings.parse` does."""
        chosen = super().parse({key: value[key] for key in ("bench",) if key in value}, where)
        return get_bench(chosen.bench).settings.parse(value, where)


def resolve(store: Store, name: str, settings: Any, announce: Say) -> Resolved:
    """Look up the data."""
    data = {each: open_dataset(store, each).card.data_hash for each in settings.dataset}
    identity = {"kind": "bench", "name": name, **settings.identity(), "data": data}
    return Resolved("bench", name, settings, identity, {"data": data})


def plan(store: Store, job: Resolved) -> dict[str, Any]:
    """Rows and repeats."""
    rows = sum(open_dataset(store, name).card.rows for name in job.settings.dataset)
    return {"bench": job.settings.bench, "rows": rows, "repeats": job.settings.repeats}


def execute(context: Context, job: Resolved) -> Outcome:
    """Measure, and leave the figures beside the attempt."""
    context.attempt.progress.begin("measuring")
    place = Place(context.store, context.attempt.folder, context.session, context.say)
    figures = get_bench(job.settings.bench).measure(place, job.settings)
    key = f"{context.attempt.folder}/bench.json"
    context.store.create_json(key, figures)
    return Outcome(extra={"bench": figures, "bench_file": context.store.url_of(key)})


KIND = Kind("bench", "measure", BenchSettings, resolve, plan, execute, always_new=True)
