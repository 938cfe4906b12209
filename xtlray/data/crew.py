"""The processes that predict at scale: Ray Data's, on this machine or on a cluster.

References to pieces of the input are the rows of a Ray Dataset, a block each; its tasks turn them into parts, in
processes that keep the model at hand. What goes through Ray is small: the rows of the tables do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import Dataset, TaskPoolStrategy

from xtlray.data.bulk import Job, Look, Piece, Worker, look
from xtlray.data.executions import batches_of, settle
from xtlray.data.pieces import Span
from xtlray.data.prediction_folder import PartRows, Refusal
from xtlray.data.sources import InputFile

Batch = dict[str, NDArray[Any]]


class RayCrew:
    """A process for each core that Ray has. Ray must be up."""

    def look(self, files: Sequence[InputFile]) -> list[Look]:
        """What `bulk.look` finds in each file."""

        def look_at(item: Batch) -> Batch:
            place = int(item["file"][0])
            return _one(file=place, look=json.dumps(_plain(look(files[place]))))

        tasks = TaskPoolStrategy(size=min(_cores(), len(files)))
        rows = _rows([{"file": place} for place in range(len(files))])
        looked = rows.map_batches(look_at, batch_size=1, batch_format="numpy", num_cpus=1, compute=tasks)
        found = {
            int(i): json.loads(text) for b in batches_of(looked) for i, text in zip(b["file"], b["look"], strict=True)
        }
        return [each if isinstance(each, str) else [Span(*span) for span in each] for _, each in sorted(found.items())]

    def make(self, job: Job, pieces: Sequence[Piece]) -> Iterator[PartRows | Refusal]:
        """What `Worker.make` makes of each piece, as they get done."""

        def make_part(item: Batch) -> Batch:
            piece = Piece.of_item({name: int(value[0]) for name, value in item.items()})
            return _one(made=json.dumps(_worker(job).make(piece).as_json()))

        # Two for each core: so one is always at hand. Ray lets as many run at a time as there are cores.
        tasks = TaskPoolStrategy(size=min(2 * _cores(), len(pieces)))
        rows = _rows([piece.as_item() for piece in pieces])
        made = rows.map_batches(make_part, batch_size=1, batch_format="numpy", num_cpus=1, compute=tasks)
        for batch in batches_of(made):
            for text in batch["made"].tolist():
                found = json.loads(text)
                yield Refusal(**found) if "reason" in found else PartRows(**found)


_workers: dict[tuple[str, str], Worker] = {}


def _worker(job: Job) -> Worker:
    """This process' worker for that job, with the model at hand; those for other jobs are let go."""
    name = (job.output.url, job.plan)
    if name not in _workers:
        _workers.clear()
        _workers[name] = Worker(job)
    return _workers[name]


def _rows(items: list[dict[str, int]]) -> Dataset:
    """A Ray Dataset of these items, each a block, for a block is what a process gets at a time."""
    rows = ray.data.from_items(items, override_num_blocks=len(items))
    settle(rows.context)
    return rows


def _one(**cells: Any) -> Batch:
    return {name: np.array([cell], object if isinstance(cell, str) else None) for name, cell in cells.items()}


def _plain(found: Look) -> Any:
    return found if isinstance(found, str) else [astuple(span) for span in found]


def _cores() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
