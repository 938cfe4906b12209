"""How fast a model answers for many formulas: reading them, the net, and the whole command, from files to files.

Reading and the net are of one core, beside what they were without the ways of this project (pymatgen for every formula;
torch's own product of matrices), by turns in one run. The whole is the command by itself on all cores, with its own
start, Ray's and that of Ray's processes.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from statistics import median
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field, PositiveInt

from xtlray import provenance
from xtlray.bench.bench import SCRATCH, Bench, Place, clear
from xtlray.chem.formula import Compositions, parse_by_pymatgen
from xtlray.data.dataset import Dataset, open_dataset
from xtlray.errors import WorkError
from xtlray.nn.members import LiveMember, answers_of
from xtlray.nn.quick import quick_members
from xtlray.records import SPLITS
from xtlray.registry.at_scale import parse_column
from xtlray.registry.model import load_model
from xtlray.registry.versions import resolve
from xtlray.settings import Settings
from xtlray.training.memory import keep_freed_memory

BAD, BAD_EVERY = "Xx2O", 1000
ROWS_PER_FILE = 1_000_000


class PredictingSettings(Settings):
    """Settings of the benchmark of predictions at scale."""

    bench: Literal["predicting"]
    dataset: tuple[str, ...] = Field(min_length=1, description="datasets whose formulas are predicted for")
    models: tuple[str, ...] = Field(("builtin/oqmd",), min_length=1, description="models, each measured")
    rows: PositiveInt = Field(1_000_000, description="formulas of the whole, those of the datasets again and again")
    sample: PositiveInt = Field(20_000, description="formulas of the measurements on one core")
    repeats: PositiveInt = Field(3, description="how often on one core; the figures are medians")


def measure(place: Place, settings: PredictingSettings) -> dict[str, Any]:
    """The figures of reading, and of each model those of its net and of the whole."""
    torch.set_num_threads(1)
    keep_freed_memory()
    formulas = _formulas([open_dataset(place.store, name) for name in settings.dataset], settings.rows)
    sample = formulas[: settings.sample]
    figures: dict[str, Any] = {"rows": settings.rows, "cores": provenance.cores(), **_reading(sample, settings.repeats)}
    compositions, _ = parse_column(sample)
    try:
        inputs = _write(place, formulas)
        figures["models"] = []
        for number, model in enumerate(settings.models):
            place.say(f"predicting by {model}")
            found = _net(place, model, compositions, settings.repeats)
            output = place.store.url_of(f"{place.folder}/{SCRATCH}/out-{number}")
            figures["models"].append({"model": model, **found, **_whole(place, model, inputs, output, settings.rows)})
    finally:
        clear(place)
    return figures


def _formulas(datasets: Sequence[Dataset], rows: int) -> pa.Array:
    """So many formulas, one in a thousand of which cannot be read."""
    texts = [text for dataset in datasets for split in SPLITS for text in dataset.rows(split).formulas]
    found = list(islice(cycle(texts), rows))
    found[::BAD_EVERY] = [BAD] * len(found[::BAD_EVERY])
    return pa.array(found, pa.string())


def _reading(sample: pa.Array, repeats: int) -> dict[str, float]:
    """Rows/s of formulas to compositions, on one core; `before`: every formula by pymatgen."""
    now, before = _by_turns(lambda: parse_column(sample), lambda: parse_by_pymatgen(sample.to_pylist()), repeats)
    return {
        "parse_rows_per_s": len(sample) / now,
        "parse_rows_per_s_before": len(sample) / before,
        "parse_ratio": before / now,
    }


def _net(place: Place, model: str, compositions: Compositions, repeats: int) -> dict[str, float]:
    """Rows/s of a model's members on their input, on one core; `before`: by torch's own product of matrices."""
    loaded = load_model(resolve(place.store, model))
    x_BX = loaded.encoder.encode(compositions.take(loaded.encoder.fractions.encodable(compositions)))
    ready = quick_members(loaded.members)
    now, before = _by_turns(lambda: _answer(ready, x_BX), lambda: _answer(loaded.members, x_BX), repeats)
    return {
        "net_rows_per_s": len(x_BX) / now,
        "net_rows_per_s_before": len(x_BX) / before,
        "net_ratio": before / now,
        "net_difference": float(np.abs(_answer(ready, x_BX) - _answer(loaded.members, x_BX)).max()),
    }


def _answer(members: Sequence[LiveMember], x_BX: np.ndarray) -> np.ndarray:
    return answers_of(members, x_BX)


def _whole(place: Place, model: str, inputs: str, output: str, rows: int) -> dict[str, float]:
    """Seconds of the whole command, files in and files out."""
    words = ["predict", model, "--input", inputs, "--output", f"{output}/"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "xtlray.cli.main", "--json", "--store", place.store.url, *words],
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise WorkError("Predicting failed", got=last, fix=f"xtlray {' '.join(words)}")
    made = json.loads(done.stdout)
    assert made["rows"] == rows, "every row has its answer"
    return {"whole_s": seconds, "whole_rows_per_s": rows / seconds, "unanswered": made["unanswered"]}


def _write(place: Place, formulas: pa.Array) -> str:
    """The input, as files; where their folder lies."""
    folder = f"{place.folder}/{SCRATCH}/in"
    for number, start in enumerate(range(0, len(formulas), ROWS_PER_FILE)):
        buffer = io.BytesIO()
        pq.write_table(pa.table({"formula": formulas.slice(start, ROWS_PER_FILE)}), buffer)
        place.store.create(f"{folder}/{number:03d}.parquet", buffer.getvalue())
    return place.store.url_of(folder)


def _by_turns(one: Callable[[], Any], other: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of each: medians. The first time of each does not count."""
    found: list[tuple[float, float]] = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        one()
        middle = time.perf_counter()
        other()
        found.append((middle - start, time.perf_counter() - middle))
    return median(a for a, _ in found[1:]), median(b for _, b in found[1:])


BENCH = Bench(PredictingSettings, measure)
