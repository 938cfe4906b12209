"""One worker among several, as the loop sees it: which rows are mine, and how sums are added up."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Ranks:
    """A single worker: everything is mine, sums are what they are. The distributed one is in `xtlray.pretrain`."""

    rank = 0
    world = 1

    def wrap(self, net: nn.Module) -> Any:
        """The module to call in training, which averages gradients over the workers."""
        return net

    def sum(self, values: list[float]) -> list[float]:
        """The values, each added up over all workers."""
        return values

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """My part of a global batch of row numbers: contiguous, sizes differ by one row at most."""
        n = len(rows)
        return rows[n * self.rank // self.world : n * (self.rank + 1) // self.world]
