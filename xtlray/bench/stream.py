"""Streaming against memory: the same steps of training on millions of rows, fed by either way, in a Ray Train worker.

The rows are made from those of a dataset: its compositions again and again, each time with other fractions.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.train.torch
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from xtlray.bench.bare import ENCODER, LR, Stretches
from xtlray.chem.formula import Compositions
from xtlray.data.dataset import Dataset, open_dataset
from xtlray.data.joined import join
from xtlray.data.shards import ROWS_PER_PART
from xtlray.data.stream import Source, survey
from xtlray.errors import WorkError
from xtlray.nn.nets import build_net
from xtlray.nn.scaler import TargetScaler
from xtlray.pretrain.stream_feed import StreamFeed, scaler_of
from xtlray.pretrain.timing import peak_rss_mb
from xtlray.records import DatasetPointer, Part
from xtlray.store import Store
from xtlray.training.loop import Recipe, fit
from xtlray.training.memory import keep_freed_memory
from xtlray.training.table import CompactTable, Feed

Loader = Literal["resident", "streaming"]
NAME = "bench/many"
SPREAD = 0.05  # fractions change by up to so much of themselves


def make_rows(dataset: Dataset, rows: int, to: Store, seed: int = 0) -> Dataset:
    """A dataset of `rows` training rows in `to`, made from those of `dataset` that hold two elements or more."""
    given = dataset.rows("train")
    several = np.flatnonzero((given.compositions.counts > 1) & ENCODER.encodable(given.compositions))
    base, formula = given.compositions.take(several), pa.array(given.formulas, pa.string()).take(pa.array(several))
    parts: list[Part] = []
    folder = f"datasets/{NAME}"
    digest = hashlib.sha256(f"{dataset.card.data_hash} {rows} {seed}".encode()).hexdigest()
    left = rows
    for found, index in _copies(base, rows, np.random.default_rng(seed)):
        part = f"part-{len(parts):05d}.parquet"
        data = _shard(found, formula.take(pa.array(index)), given.y_B[several][index])
        to.create(f"{folder}/{digest}/{part}", data)
        parts.append(Part(file=part, split="train", rows=len(found), sha256=hashlib.sha256(data).hexdigest()))
        left -= len(found)
    assert left == 0
    made = {"name": NAME, "data_hash": digest, "rows": rows, "parts": parts}
    card = dataset.card.model_copy(update={**made, "splits": {"train": rows, "val": 0, "test": 0}})
    to.create_json(f"{folder}/{digest}/card.json", card.as_json())
    to.append(f"{folder}/current", DatasetPointer(data_hash=digest, ingest=card.ingest).as_json())
    return open_dataset(to, NAME)


def _copies(base: Compositions, rows: int, generator: np.random.Generator) -> Iterator[tuple[Compositions, np.ndarray]]:
    """Shards of the base's rows with other fractions, again and again; with the rows of the base that they are of."""
    done = 0
    while done < rows:
        start = done % len(base)
        index = np.arange(start, min(start + ROWS_PER_PART, len(base), start + rows - done))
        piece = base.take(index)
        fraction = piece.fraction * (1 + SPREAD * generator.random(len(piece.fraction)))
        fraction /= np.repeat(np.add.reduceat(fraction, piece.offsets[:-1]), piece.counts)
        yield Compositions(piece.offsets, piece.z, fraction.astype(np.float32)), index
        done += len(index)


def _shard(found: Compositions, formula: pa.Array, value_B: np.ndarray) -> bytes:
    """As `xtlray.data.shards` writes it, but compressed in a hurry."""
    offsets = pa.array(found.offsets.astype(np.int32))
    table = pa.table(
        {
            "split": pa.array(["train"]).take(pa.array(np.zeros(len(found), np.int8))).dictionary_encode(),
            "formula": formula,
            "value": value_B,
            "z": pa.ListArray.from_arrays(offsets, pa.array(found.z)),
            "fraction": pa.ListArray.from_arrays(offsets, pa.array(found.fraction)),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=1)
    return sink.getvalue()


@dataclass(frozen=True)
class Fed:
    """What a worker is to do.

    Attributes:
        store: its URL; `dataset`: made rows in it.
        net: a net's full description.
        threads: of torch.
        batch: rows of a step; `steps`: of each timed stretch, and before the first.
        loader: which way in.
    """

    store: str
    dataset: str
    net: dict[str, Any]
    threads: int
    batch: int
    steps: int
    loader: Loader


def train(fed: Fed, storage: Mapping[str, Any]) -> dict[str, Any]:
    """Rows/s over all stretches and the most memory of one Ray Train worker; Ray must be up."""
    gpu = torch.cuda.is_available()
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"fed": asdict(fed)},
        scaling_config=ScalingConfig(num_workers=1, use_gpu=gpu, resources_per_worker={"CPU": fed.threads, "GPU": gpu}),
        run_config=RunConfig(name=fed.loader, **storage),
    )
    try:
        answer: dict[str, Any] = trainer.fit().return_value
    except Exception as error:  # whatever ends the worker, the benchmark cannot go on
        last = (str(error).strip() or "no message").splitlines()[-1]
        raise WorkError(
            f"Training on rows that are {fed.loader} failed", got=f"{type(error).__name__}: {last}"
        ) from error
    return {"loader": fed.loader, **answer}


def _worker(config: dict[str, Any]) -> dict[str, Any]:
    fed = Fed(**config["fed"])
    torch.set_num_threads(fed.threads)
    keep_freed_memory()
    device = ray.train.torch.get_device()
    feed = Stretches(_feed(fed, device), fed.batch, fed.steps, device, warm=fed.steps)
    net = build_net(fed.net, len(ENCODER.elements), 1, seed=0).to(device)
    none = CompactTable.of(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros((0, 1)), len(ENCODER.elements), device)
    fit(net, feed, none, Recipe(1, fed.batch, LR, 0))
    rows = fed.batch * fed.steps * (len(feed.marks) - 1)
    return {"rows_per_s": rows / (feed.marks[-1] - feed.marks[0]), "peak_rss_mb": peak_rss_mb()}


def _feed(fed: Fed, device: torch.device) -> Feed:
    dataset = open_dataset(Store(fed.store), fed.dataset)
    if fed.loader == "streaming":
        source = Source.of([dataset], ENCODER)
        found = survey(source)
        return StreamFeed(source, found, scaler_of(found, [fed.dataset]), device)
    rows = join([dataset], "train", ENCODER)
    scaled = TargetScaler.fit(rows.y_BP).transform(rows.y_BP)
    return CompactTable.of(rows.z_BK, rows.f_BK, scaled, len(ENCODER.elements), device)
