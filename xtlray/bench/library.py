"""What the library of models costs as it grows: a search, a publication, the upkeep of its index.

Two libraries are made, one of few models and one of many, in the store that is measured: their cards are written side
by side, and the index is made from them as `xtlray models index --rebuild` does. Then publications into the one and
into the other take turns, so that a machine that others use is as fast for both. They are whole publications, files and
all, by the function that runs publish with; and a search is the command, in a process that has just begun.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from xtlray import provenance
from xtlray.bench.bench import SCRATCH, Bench, Place, clear
from xtlray.chem.fractions import ELEMNET_ELEMENTS
from xtlray.errors import WorkError
from xtlray.records import Member, ModelCard, SplitMetrics
from xtlray.registry import compaction, index, rebuilding
from xtlray.registry.conditions import Query
from xtlray.registry.publishing import publish
from xtlray.registry.search import search
from xtlray.settings import Settings
from xtlray.store import Store

PROPERTIES = 40
METHODS = ("pretrain", "sc-trees", "tl-extract", "tl-finetune", "tl-freeze")
NETS = ("deepsets", "elemnet")
WEIGHTS = 100_000  # bytes of a published model's file
_WRITERS = 32


class LibrarySettings(Settings):
    """Settings of the library benchmark."""

    bench: Literal["library"]
    dataset: tuple[str, ...] = Field((), max_length=0, description="none: the models are made up")
    few: int = Field(100, ge=1, description="models of the small library")
    many: int = Field(100_000, ge=1, description="models of the large one")
    epochs: int = Field(
        20, ge=0, description="of the training history in each card: they make it as large as a real one"
    )
    publications: int = Field(120, ge=1, description="into each; more than a fold takes, so that folds are among them")
    folds: int = Field(
        10, ge=1, description="folds of the large library's index, each of as many marks as make one due"
    )
    repeats: PositiveInt = Field(5, description="searches of each kind; the figures are medians")


@dataclass(frozen=True)
class Library:
    """A library that is measured, and seconds that its making took: writing `cards`, and the index from them."""

    store: Store
    models: int
    cards_s: float
    rebuild_s: float


def measure(place: Place, settings: LibrarySettings) -> dict[str, Any]:
    """All figures; what the measurement has written is deleted again.

    Raises:
        WorkError: a search did not find what is there.
    """
    try:
        few, many = fill(place, "few", settings, settings.few), fill(place, "many", settings, settings.many)
        figures: dict[str, Any] = {
            "cards_per_s": many.models / many.cards_s,
            "rebuild_s": many.rebuild_s,
            "index_mb": rebuilding.state(many.store)["bytes"] / 1e6,
            **_publications(place, few, many, settings),
            **_folds(place, many, settings),
            **_searches(place, few, settings),
            **_searches(place, many, settings),
            "segments": rebuilding.state(many.store)["segments"],
        }
        place.say("all of the index at once")
        with _timed() as compact_s:
            compaction.fold(many.store, whole=True)
        figures["compact_s"] = compact_s()
    finally:
        clear(place)
    return {**figures, "hardware": provenance.hardware(), "commit": provenance.commit()}


def card(number: int, epochs: int) -> dict[str, Any]:
    """The card of a made-up model, as JSON; the same number always gives the same one."""
    dice = np.random.default_rng(number)
    of = number % PROPERTIES
    val, test, train = (float(f"{x:.6g}") for x in dice.lognormal(0, 1, 3))
    name, label, unit = f"bench/property-{of:02d}", f"made-up property {of}", ("eV", "GPa", "K", "eV/atom")[of % 4]
    data = {"name": name, "splits": {"train": 50 + int(1000 * train)}, "data_hash": f"{of:064x}", "split_id": f"{of:x}"}
    return ModelCard(
        name=name_of(number),
        version=1,
        property=name,
        label=label,
        unit=unit,
        elements_encoded=list(ELEMNET_ELEMENTS),
        elements_seen=dict.fromkeys(ELEMNET_ELEMENTS[of : of + 40], 1 + number % 999),
        members=[Member(kind="net", net={"name": NETS[number % 2]}, prefix=f"m{k}") for k in range(3)],
        method=METHODS[number % 5],
        source_model=f"bench/source-{number % 7}@1" if number % 5 > 1 else None,
        dataset=data,
        metrics={"val": SplitMetrics(rows=50, mae=val), "test": SplitMetrics(rows=60, mae=test)},
        history=[{"epoch": n + 1, "loss": 2 * val / (n + 1), "val": 3 * val / (n + 2)} for n in range(epochs)],
        run=f"bench-library-{number:08x}",
        job={"kind": "bench", "name": "bench-library"},
        commit=provenance.commit(),
        versions=provenance.versions(),
        hardware=provenance.hardware(),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + 60 * number)),
        licence="CC BY 4.0",
        citation=f"Nobody, Journal of Made-up Things {of} (2026)",
        files={"weights.safetensors": f"{number:064x}"},
    ).as_json()


def name_of(number: int) -> str:
    return f"bench/model-{number:06d}"


def fill(place: Place, name: str, settings: LibrarySettings, models: int) -> Library:
    """Make a library of made-up models, of which there is nothing but the cards, and its index."""
    store = Store.open(place.store.url_of(f"{place.folder}/{SCRATCH}/{name}"))
    place.say(f"a library of {models:,} cards")
    with _timed() as cards_s:
        _in_parallel(lambda n: store.create_json(index.card_key((name_of(n), 1)), card(n, settings.epochs)), models)
    with _timed() as rebuild_s:
        found = rebuilding.rebuild(store, place.say).versions
    if found != models:
        raise WorkError("The index was not made from all cards", got=f"{found} of {models}")
    return Library(store, models, cards_s(), rebuild_s())


def _in_parallel(work: Callable[[int], Any], times: int, first: int = 0) -> None:
    with ThreadPoolExecutor(_WRITERS) as pool:
        for _ in pool.map(work, range(first, first + times)):
            continue


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    """Gives a function that tells, afterwards, how many seconds it took."""
    ended: list[float] = []
    began = time.perf_counter()
    yield lambda: ended[0] - began
    ended.append(time.perf_counter())


# --- what is measured ------------------------------------------------------------------------------------------------


def _publications(place: Place, few: Library, many: Library, settings: LibrarySettings) -> dict[str, Any]:
    """Seconds of a publication into each library, and of that which also folded the index."""
    place.say(f"{settings.publications} publications into each")
    seconds: dict[int, list[float]] = {few.models: [], many.models: []}
    for n in range(settings.publications):
        for library in (few, many) if n % 2 else (many, few):
            made = ModelCard.model_validate(card(library.models + n, settings.epochs))
            weights = np.random.default_rng(n).bytes(WEIGHTS)
            with _timed() as took:
                publish(library.store, made.run, made.name, None, {"weights.safetensors": weights}, _filled(made))
            seconds[library.models].append(took())
    figures: dict[str, Any] = {}
    for models, found in seconds.items():
        figures[f"publish_s_{models}"] = median(found)
        figures[f"publish_s_{models}_mean"] = mean(found)
        figures[f"publish_s_{models}_max"] = max(found)
    ratio = f"publish_ratio_{many.models}_over_{few.models}"
    figures[ratio] = median(seconds[many.models]) / median(seconds[few.models])
    figures[f"{ratio}_mean"] = mean(seconds[many.models]) / mean(seconds[few.models])
    return figures


def _filled(made: ModelCard) -> Callable[[int, dict[str, str]], ModelCard]:
    return lambda version, files: made.model_copy(update={"version": version, "files": files})


def _folds(place: Place, library: Library, settings: LibrarySettings) -> dict[str, Any]:
    """Seconds of folding as many marks as make a fold due."""
    place.say(f"{settings.folds} folds")
    first, seconds = library.models + settings.publications, []
    for n in range(settings.folds):
        _in_parallel(lambda number: _announce(library.store, number, settings.epochs), compaction.FOLD_AT, first)
        first += compaction.FOLD_AT
        with _timed() as took:
            if not compaction.fold(library.store):
                raise WorkError("The index was not folded", got=f"fold {n + 1}", fix="let nobody else write there")
        seconds.append(took())
    return {"fold_s": median(seconds), "fold_s_max": max(seconds)}


def _announce(store: Store, number: int, epochs: int) -> None:
    """What a publication writes to the index, and its card."""
    index.note_published(store, name_of(number), 1)
    store.create_json(index.card_key((name_of(number), 1)), card(number, epochs))


def _searches(place: Place, library: Library, settings: LibrarySettings) -> dict[str, float]:
    """Seconds of a search, with half as many marks as make a fold due: of the command as a whole, and in a program."""
    place.say(f"searches among {library.models:,}")
    _in_parallel(lambda n: _announce(library.store, n, settings.epochs), compaction.FOLD_AT // 2, 10 * settings.many)
    wanted = card(library.models - 1, 0)
    words = [
        "made-up",
        "--property",
        wanted["property"],
        "--max-mae",
        "100",
        "--element",
        next(iter(wanted["elements_seen"])),
    ]
    command = [
        sys.executable,
        "-m",
        "xtlray.cli.main",
        "models",
        "search",
        *words,
        "--json",
        "--store",
        library.store.url,
    ]
    cold, warm = [], []
    for _ in range(settings.repeats):
        with _timed() as took:
            said = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
        if said.returncode or f'"{wanted["property"]}"' not in said.stdout:
            raise WorkError("A search did not find what is there", got=(said.stderr or said.stdout).strip()[-300:])
        cold.append(took())
        with _timed() as took:
            search(library.store, Query(text="made-up", property=wanted["property"]))
        warm.append(took())
    n = library.models
    return {f"search_s_{n}": median(cold), f"search_s_{n}_max": max(cold), f"search_s_{n}_in_python": median(warm)}


BENCH = Bench(LibrarySettings, measure)
