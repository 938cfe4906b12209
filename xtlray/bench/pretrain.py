"""How near pretraining comes to the machine's limit: the bare loop over matrix products, Ray Train over the bare loop.

All of it in one run, and what is compared by turns, so that a machine that others use is slow for all alike. Ratios are
what counts; a rate alone is that of a machine at an hour.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import BeforeValidator, Field, PositiveInt

from xtlray import provenance
from xtlray.bench.bare import LR, Work
from xtlray.bench.bench import SCRATCH, Bench, Place, clear
from xtlray.bench.stream import Fed, Loader, make_rows, train
from xtlray.data.dataset import Dataset, open_dataset
from xtlray.errors import RequestError, WorkError
from xtlray.nn.nets import resolve_net
from xtlray.pretrain.settings import PretrainSettings
from xtlray.pretrain.timing import TIMING
from xtlray.pretrain.trainer import run_training
from xtlray.settings import Settings
from xtlray.store import Store


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class PretrainBenchSettings(Settings):
    """Settings of the pretraining benchmark. Parts that are left out leave their figures empty."""

    bench: Literal["pretrain"]
    dataset: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        min_length=1, max_length=1, description="the dataset to train on"
    )
    net: str | dict[str, Any] = Field("elemnet", description="the net to train")
    epochs: int = Field(4, ge=2, description="of each training that is compared; the first warms up and is not timed")
    batch: PositiveInt = Field(2048, description="rows of a global batch where loop and Ray Train are compared")
    job_batch: PositiveInt = Field(512, description="the batch that accuracy wants, as in the pretraining jobs")
    batches: tuple[PositiveInt, ...] = Field(
        (512, 1024, 2048, 4096, 8192), min_length=1, description="batches of the bare loop; job_batch is among them"
    )
    stretch: PositiveInt = Field(65_536, description="rows of a timed stretch of the bare loop; each batch has three")
    sizes: tuple[PositiveInt, ...] = Field((1024, 2048, 4096), min_length=1, description="of the square matrices")
    repeats: PositiveInt = Field(2, description="rounds of bare loop, one worker, two workers; ratios are medians")
    stream: bool = Field(True, description="compare a stream with rows in memory")
    stream_rows: PositiveInt = Field(10_000_000, description="rows to stream, made from the dataset's compositions")
    stream_steps: PositiveInt = Field(128, description="steps of a timed stretch of either way; each has three")
    first_step: bool = Field(True, description="time a run from its command to its first step")


def measure(place: Place, settings: PretrainBenchSettings) -> dict[str, Any]:
    """All figures; what the measurement has written beside them is deleted again.

    Raises:
        RequestError: a batch has more rows than the dataset has for training.
        WorkError: a part failed.
    """
    dataset = open_dataset(place.store, settings.dataset[0])
    largest, rows = max(*settings.batches, settings.job_batch, settings.batch), dataset.card.splits["train"]
    if largest > rows:
        raise RequestError("A batch has more rows than there are", got=f"{largest} of {rows}", fix="set batches lower")
    try:
        first = first_step(place, settings, dataset) if settings.first_step else None  # no Ray is up yet
        figures = _loop(place, settings, dataset)
        rounds = [_round(place, settings, dataset, n) for n in range(settings.repeats)]
        fed = _streams(place, settings, dataset) if settings.stream else {}
    finally:
        clear(place)
    figures |= _ratios(rounds)
    figures |= {"first_step_s": first, "stream_over_resident": None, **fed}
    figures["runs"] = [run for each in rounds for run in each.values()]
    return {**figures, "hardware": provenance.hardware(), "commit": provenance.commit(), **_libraries()}


def _libraries() -> dict[str, str]:
    versions = provenance.versions()
    return {name: versions[name] for name in ("torch", "ray") if name in versions}


# --- without Ray -----------------------------------------------------------------------------------------------------


def _work(place: Place, settings: PretrainBenchSettings, dataset: Dataset, **parts: Any) -> Work:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net, card = resolve_net(settings.net), dataset.card
    return Work(place.store.url, card.name, card.data_hash, net, provenance.cores(), device, **parts)


def _alone(work: Work) -> dict[str, Any]:
    """Measure in a fresh process, which knows nothing of Ray."""
    done = subprocess.run(
        [sys.executable, "-m", "xtlray.bench.bare"], input=json.dumps(work.as_json()), capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise WorkError("The bare loop failed", got=last, fix="see whether there is enough memory")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _loop(place: Place, settings: PretrainBenchSettings, dataset: Dataset) -> dict[str, Any]:
    """The bare loop over batch sizes, and the matrix products that bound it: of both, the fastest."""
    place.say("the bare loop over batch sizes")
    batches = tuple(sorted({*settings.batches, settings.job_batch}))
    found = _alone(_work(place, settings, dataset, batches=batches, stretch=settings.stretch, sizes=settings.sizes))
    limit = max(found["matrix"].values())
    scale = found["flop_per_row"] / 1e12 / limit
    table = [
        {
            "batch": each["batch"],
            "rows_per_s": max(each["rates"]),
            "median_rows_per_s": median(each["rates"]),
            "over_matrix": max(each["rates"]) * scale,
        }
        for each in found["batches"]
    ]
    best = max(table, key=lambda each: each["rows_per_s"])
    job = next(each for each in table if each["batch"] == settings.job_batch)
    return {
        "matrix_tflops": limit,
        "bare_rows_per_s": best["rows_per_s"],
        "bare_over_matrix": best["over_matrix"],
        "best_batch": best["batch"],
        "job_batch_over_matrix": job["over_matrix"],
        "precision": found["precision"],
        "flop_per_row": found["flop_per_row"],
        "matrix": [{"size": int(n), "tflops": rate} for n, rate in found["matrix"].items()],
        "batches": table,
    }


# --- through Ray Train -----------------------------------------------------------------------------------------------


def _round(place: Place, settings: PretrainBenchSettings, dataset: Dataset, n: int) -> dict[str, dict[str, Any]]:
    """The same epochs thrice: bare, by one worker with all cores, by two with half of them each."""
    place.say(f"round {n + 1} of {settings.repeats}: the bare loop")
    bare = _alone(_work(place, settings, dataset, batch=settings.batch, epochs=settings.epochs))["epochs"]
    found = {"bare": {"way": "bare", "round": n + 1, **bare}}
    gpus = torch.cuda.device_count()
    for workers in (1, 2):
        if workers == 2 and (gpus == 1 or provenance.cores() < 2):
            continue  # two workers would have to share one device
        place.say(f"round {n + 1} of {settings.repeats}: Ray Train, workers: {workers}")
        timing = _through_ray(place, settings, dataset, workers, f"round-{n + 1}-{workers}")
        ends = timing["epoch_ends"]
        found[f"train{workers}"] = {
            "way": f"Ray Train, {workers} worker{'s' * (workers > 1)}",
            "round": n + 1,
            "rows_per_s": timing["rows"] * (len(ends) - 1) / (ends[-1] - ends[0]),
            "peak_rss_mb": max(timing["peak_rss_mb"]),
        }
    return found


def _through_ray(
    place: Place, settings: PretrainBenchSettings, dataset: Dataset, workers: int, name: str
) -> dict[str, Any]:
    """Train through Ray Train, checkpoints and reports included, in a scratch run; its `timing.json`."""
    run = f"{place.folder}/{SCRATCH}/{name}"
    attempt = f"{run}/attempts/1"
    keys = {
        "dataset": settings.dataset,
        "net": settings.net,
        "epochs": settings.epochs,
        "batch": settings.batch,
        "lr": LR,
        "loader": "resident",
        "workers": workers,
        "cpus_per_worker": max(1, provenance.cores() // workers),
    }
    job = PretrainSettings.parse(keys, "the benchmark")
    with place.session():
        last = run_training(
            place.store, run, attempt, job, {dataset.card.name: dataset.card.data_hash}, lambda *_: None
        )
    timing: dict[str, Any] = place.store.get_json(f"{attempt}/{TIMING}")
    return {**timing, "rows": last.state.history[-1]["rows"]}


def _ratios(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Of each round, for what is compared was measured at about the same time; then the median."""

    def over(way: str, other: str) -> float | None:
        ratios = [each[way]["rows_per_s"] / each[other]["rows_per_s"] for each in rounds if way in each]
        return median(ratios) if ratios else None

    return {
        "train1_over_bare": over("train1", "bare"),
        "train2_over_train1": over("train2", "train1"),
        "peak_rss_mb": max(run["peak_rss_mb"] for each in rounds for way, run in each.items() if way != "bare"),
    }


def _streams(place: Place, settings: PretrainBenchSettings, dataset: Dataset) -> dict[str, Any]:
    """The same steps on many rows, from memory and streamed, by one worker with all cores."""
    place.say(f"making {settings.stream_rows:,} rows to stream")
    scratch = Store.open(place.store.url_of(f"{place.folder}/{SCRATCH}/many"))
    made = make_rows(dataset, settings.stream_rows, scratch)
    storage = place.store.for_ray(f"{place.folder}/{SCRATCH}/ray")
    net, cores, found = resolve_net(settings.net), provenance.cores(), []
    ways: tuple[Loader, ...] = ("resident", "streaming")
    for loader in ways:
        place.say(f"{settings.stream_rows:,} rows, {loader}")
        fed = Fed(scratch.url, made.card.name, net, cores, settings.batch, settings.stream_steps, loader)
        with place.session():
            found.append({"rows": settings.stream_rows, **train(fed, storage)})
    return {"stream_over_resident": found[1]["rows_per_s"] / found[0]["rows_per_s"], "stream": found}


def first_step(place: Place, settings: PretrainBenchSettings, dataset: Dataset) -> float:
    """Seconds from the command `xtlray run` to the end of the first step, its Ray started anew, in a scratch store."""
    place.say("from `xtlray run` to the first step")
    scratch = Store.open(place.store.url_of(f"{place.folder}/{SCRATCH}/store"))
    if dataset.store is place.store:  # those of the package are found anywhere
        copy_dataset(dataset, scratch)
    job = {
        "kind": "pretrain",
        "name": "first-step",
        "dataset": list(settings.dataset),
        "net": settings.net,
        "epochs": 1,
        "batch": settings.batch,
        "loader": "resident",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        command = [sys.executable, "-m", "xtlray.cli.main", "run", str(path), "--store", scratch.url, "--quiet"]
        started = time.time()
        done = subprocess.run(command, capture_output=True, text=True)
    keys = [key for key in scratch.list("runs") if key.endswith(f"/{TIMING}")]
    if done.returncode or not keys:
        raise WorkError("A run of one epoch failed", got=(done.stderr.strip() or "no message").splitlines()[-1])
    moment: float = scratch.get_json(keys[0])["first_step"]
    return moment - started


def copy_dataset(dataset: Dataset, to: Store) -> None:
    """The dataset's present version, and the name that means it, in another store."""
    for key in dataset.store.list(f"datasets/{dataset.card.name}"):
        if dataset.card.data_hash in key or "/current/" in key:
            to.create(key, dataset.store.get(key))


BENCH = Bench(PretrainBenchSettings, measure)
