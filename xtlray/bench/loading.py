"""How fast rows move: from a formula's text to shards, and from shards to the input of a net. One core each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Literal

from pydantic import Field, PositiveInt

from xtlray.bench.bench import Bench, Place
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset, open_dataset
from xtlray.data.ingest import About, Provenance, ingest_table
from xtlray.data.splits import Protocol
from xtlray.errors import RequestError
from xtlray.records import SPLITS
from xtlray.settings import Settings
from xtlray.store import Store


class LoadingSettings(Settings):
    """Settings of the loading benchmark."""

    bench: Literal["loading"]
    dataset: tuple[str, ...] = Field(min_length=1, description="datasets to measure on")
    repeats: PositiveInt = Field(5, description="how often; the figures are medians")


def measure(place: Place, settings: LoadingSettings) -> dict[str, Any]:
    """The figures of `loading`."""
    return loading(place.store, settings.dataset, settings.repeats)


def loading(store: Store, dataset_names: Sequence[str], repeats: int = 5) -> dict[str, Any]:
    """Measure loading of all rows of some datasets into `x_BE`, and ingest of the same rows from their formulas.

    Args:
        store: where the datasets lie; nothing is written to it.
        dataset_names: datasets that lie there.
        repeats: how often; the figures are medians.

    Returns:
        `rows`, `repeats`, `load_rows_per_second` (read, check, decode, encode) and `ingest_rows_per_second` (parse,
        cut, sort, write to a temporary folder), each also as `..._best`.

    Raises:
        RequestError: `repeats` is below 1, or no dataset is named.
    """
    if repeats < 1 or not dataset_names:
        raise RequestError(
            "Nothing would be measured",
            got=f"repeats={repeats}, {len(dataset_names)} datasets",
            allowed="one repeat and one dataset at least",
        )
    datasets = [open_dataset(store, name) for name in dataset_names]
    rows = sum(dataset.card.rows for dataset in datasets)
    load = _seconds(lambda: _load(datasets), repeats)
    ingest = _ingest_seconds(datasets, repeats)
    return {
        "rows": rows,
        "repeats": repeats,
        "load_rows_per_second": rows / median(load),
        "load_rows_per_second_best": rows / min(load),
        "ingest_rows_per_second": rows / median(ingest),
        "ingest_rows_per_second_best": rows / min(ingest),
    }


def _load(datasets: Sequence[Dataset]) -> None:
    for dataset in datasets:
        for split in SPLITS:
            dataset.rows(split).encode(FractionEncoder())


def _ingest_seconds(datasets: Sequence[Dataset], repeats: int) -> list[float]:
    tables = []
    for dataset in datasets:
        read = [dataset.rows(split) for split in SPLITS]
        formulas = [text for rows in read for text in rows.formulas]
        tables.append((dataset.card.name, formulas, [repr(y) for rows in read for y in rows.y_B.tolist()]))

    def ingest() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, formulas, values in tables:
                ingest_table(
                    Store.open(folder),
                    name,
                    formulas=formulas,
                    values=values,
                    about=About(unit=None, label=name),
                    protocol=Protocol.POOL,
                    provenance=Provenance(origin="a benchmark"),
                )

    return _seconds(ingest, repeats)


def _seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


BENCH = Bench(LoadingSettings, measure)
