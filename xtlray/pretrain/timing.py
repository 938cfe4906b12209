"""When a training did what, and the most memory that its workers took: `timing.json` in the attempt's folder."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from xtlray.errors import StoreError
from xtlray.store import Store
from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState
from xtlray.training.table import Batch, Feed

TIMING = "timing.json"


class Timing:
    """Notes the end of this attempt's first step and of each epoch, as times of the clock on the wall (Unix, s)."""

    def __init__(self) -> None:
        self.first_step: float | None = None
        self.epoch_ends: list[float] = []

    def watch(self, feed: Feed) -> Feed:
        """The same feed; whoever asks for its second batch has done the first step."""
        return _Watched(feed, self)

    def epoch_end(self) -> None:
        """An epoch has just ended, its validation included."""
        self.epoch_ends.append(time.time())

    def keep(self, store: Store, attempt: str, ranks: Ranks) -> None:
        """Write `timing.json` into `attempt` (its folder in the store). To be called by all workers."""
        peaks = [peak_rss_mb() if rank == ranks.rank else 0.0 for rank in range(ranks.world)]
        value = {
            "first_step": self.first_step,
            "epoch_ends": self.epoch_ends,
            "peak_rss_mb": ranks.sum(peaks),  # by worker
        }
        if ranks.rank == 0:
            with suppress(StoreError):  # a note: the training that it is of is in the store
                store.create_json(f"{attempt}/{TIMING}", value)


class _Watched:
    def __init__(self, feed: Feed, timing: Timing) -> None:
        self.feed, self.timing = feed, timing

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, seed: int, batch: int, state: LoopState, ranks: Ranks) -> Iterator[Batch]:
        for each in self.feed.epoch(seed, batch, state, ranks):
            yield each
            if self.timing.first_step is None:
                self.timing.first_step = time.time()


def peak_rss_mb() -> float:
    """The most memory that this process has had resident, in MB.

    On Linux from `VmHWM`: `ru_maxrss` begins with what the process that started this one had.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
