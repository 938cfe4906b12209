"""The training loop without Ray, and the machine's own limit, in a process of its own: JSON in, JSON out.

    python -m xtlray.bench.bare < work.json

Rates are rows/s of training. FLOP are counted as 6 for each weight of a linear layer and row: 2 forward, 4 backward.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import torch
from torch import nn

from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import open_dataset
from xtlray.data.joined import join
from xtlray.errors import WorkError
from xtlray.nn.nets import build_net
from xtlray.nn.scaler import TargetScaler
from xtlray.pretrain.timing import peak_rss_mb
from xtlray.store import Store
from xtlray.training.loop import Recipe, fit
from xtlray.training.memory import keep_freed_memory
from xtlray.training.precision import resolve_precision
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import Batch, CompactTable, Feed

ENCODER = FractionEncoder()
LR = 1e-4  # too low to diverge, whatever the batch: speed does not depend on it
WARM_STEPS = 3
STRETCHES = 3
FORMATS = {"bf16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Work:
    """What to measure, as it travels to the process.

    Attributes:
        store: its URL; `dataset` and `data_hash`: the rows.
        net: a net's full description.
        threads: of torch.
        device: `cpu` or `cuda`.
        batch: of the whole epochs; 0 leaves them out.
        epochs: how many of them; the first warms up.
        batches: of the stretches of plain training steps.
        stretch: rows of one of them.
        sizes: of the square matrices; `seconds`: how long products of each size are tried before each batch.
    """

    store: str
    dataset: str
    data_hash: str
    net: dict[str, Any]
    threads: int
    device: str
    batch: int = 0
    epochs: int = 0
    batches: tuple[int, ...] = ()
    stretch: int = 0
    sizes: tuple[int, ...] = ()
    seconds: float = 0.4

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Stretches:
    """A feed of whole batches only, as many as a measurement wants, which looks at the clock between them.

    Args:
        feed: where batches come from, epoch after epoch.
        batch: rows of a batch; not more than `feed` has.
        steps: batches of a stretch.
        stretches: how many.
        warm: batches before the first.
        device: where they are used: it finishes its work before the clock is read.
    """

    def __init__(
        self,
        feed: Feed,
        batch: int,
        steps: int,
        device: torch.device,
        stretches: int = STRETCHES,
        warm: int = WARM_STEPS,
    ) -> None:
        if len(feed) < batch:
            raise WorkError("There are fewer rows than a batch has", got=f"{len(feed)} rows, batches of {batch}")
        self.feed, self.batch, self.steps, self.device = feed, batch, steps, device
        self.stretches, self.warm = stretches, warm
        self.marks: list[float] = []

    def __len__(self) -> int:
        return (self.warm + self.steps * self.stretches) * self.batch

    def epoch(self, seed: int, batch: int, state: LoopState, ranks: Ranks) -> Iterator[Batch]:
        whole = self._endless(seed, ranks)
        for n in range(self.warm + self.steps * self.stretches):
            if n >= self.warm and (n - self.warm) % self.steps == 0:
                self._mark()
            yield next(whole)
        self._mark()

    def _endless(self, seed: int, ranks: Ranks) -> Iterator[Batch]:
        for epoch in count():
            for each in self.feed.epoch(seed, self.batch, LoopState(epoch=epoch), ranks):
                if each.rows == self.batch:
                    yield each

    def _mark(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.marks.append(time.perf_counter())

    def rates(self) -> list[float]:
        """Rows/s of each stretch."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [self.steps * self.batch / (after - before) for before, after in pairs]


def flop_per_row(net: nn.Module) -> int:
    """FLOP of one training row: 6 for each weight of a linear layer."""
    return 6 * sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.Linear))


def matrix_tflops(sizes: Sequence[int], device: torch.device, seconds: float) -> dict[int, float]:
    """TFLOP/s of square matrix products in the precision of training: the fastest of each size."""
    dtype = FORMATS[resolve_precision("auto", device)]
    found = {}
    for n in sizes:
        a, b, c = (torch.randn(n, n, device=device).to(dtype) for _ in range(3))
        torch.mm(a, b, out=c)
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end or best == float("inf"):
            _wait(device)
            start = time.perf_counter()
            torch.mm(a, b, out=c)
            _wait(device)
            best = min(best, time.perf_counter() - start)
        found[n] = 2 * n**3 / best / 1e12
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def load(work: Work) -> tuple[CompactTable, CompactTable]:
    """Training and validation rows, as a worker of Ray Train has them."""
    dataset = open_dataset(Store(work.store), work.dataset, work.data_hash)
    train, val = join([dataset], "train", ENCODER), join([dataset], "val", ENCODER)
    scaler, features = TargetScaler.fit(train.y_BP), len(ENCODER.elements)
    tables = [
        CompactTable.of(j.z_BK, j.f_BK, scaler.transform(j.y_BP), features, torch.device(work.device))
        for j in (train, val)
    ]
    return tables[0], tables[1]


def whole_epochs(work: Work, train: CompactTable, val: CompactTable) -> dict[str, Any]:
    """Rows/s from the end of the first epoch to the end of the last, validation included."""
    ends: list[float] = []

    def epoch_end(state: LoopState) -> bool:
        ends.append(time.perf_counter())
        return False

    net = build_net(work.net, train.features, 1, seed=0).to(work.device)
    fit(net, train, val, Recipe(work.epochs, work.batch, LR, 0), epoch_end=epoch_end)
    return {"rows_per_s": len(train) * (len(ends) - 1) / (ends[-1] - ends[0]), "peak_rss_mb": peak_rss_mb()}


def stretches(work: Work, train: CompactTable, batch: int) -> list[float]:
    """Rows/s of plain training steps at `batch`, of each stretch."""
    none = CompactTable(train.z_BK[:0], train.f_BK[:0], train.y_BP[:0], train.features)
    feed = Stretches(train, batch, max(2, work.stretch // batch), train.device)
    net = build_net(work.net, train.features, 1, seed=0).to(work.device)
    fit(net, feed, none, Recipe(1, batch, LR, 0))
    return feed.rates()


def measure(work: Work) -> dict[str, Any]:
    """All that `work` asks for. Matrix products and loops alternate, for a shared machine is not always as fast."""
    torch.set_num_threads(work.threads)
    keep_freed_memory()
    device = torch.device(work.device)
    train, val = load(work)
    found: dict[str, Any] = {"rows": len(train), "precision": resolve_precision("auto", device)}
    found["flop_per_row"] = flop_per_row(build_net(work.net, train.features, 1, seed=0))
    matrix: list[dict[int, float]] = []
    found["batches"] = []
    for batch in work.batches:
        matrix.append(matrix_tflops(work.sizes, device, work.seconds))
        found["batches"].append({"batch": batch, "rates": stretches(work, train, batch)})
    found["matrix"] = {n: max(each[n] for each in matrix) for n in work.sizes} if matrix else {}
    if work.batch:
        found["epochs"] = whole_epochs(work, train, val)
    return found


def main() -> None:
    """Read the work from stdin, write what was found to stdout."""
    value = json.load(sys.stdin)
    work = Work(**{**value, "batches": tuple(value["batches"]), "sizes": tuple(value["sizes"])})
    json.dump(measure(work), sys.stdout)


if __name__ == "__main__":
    main()
