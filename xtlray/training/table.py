"""Rows on the device where they are used, and the batches of an epoch made from them.

Shape suffixes: B rows, F features, K most elements in a row, P properties. Targets are in scaled units; a missing label
is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from xtlray.training.ranks import Ranks
from xtlray.training.state import LoopState


class Batch(NamedTuple):
    """My part of a global batch of `rows` rows; it may be empty."""

    x_BF: Tensor
    y_BP: Tensor
    rows: int


class Rows(Protocol):
    """Rows that can be had by their numbers."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (float32) and scaled targets of these rows."""
        ...


class Feed(Protocol):
    """What gives the batches of an epoch. `len` is the number of rows of an epoch, over all workers."""

    def __len__(self) -> int: ...

    def epoch(self, seed: int, batch: int, state: LoopState, ranks: Ranks) -> Iterator[Batch]:
        """What is left of the present epoch. All workers get the same number of batches, of the same `rows`."""
        ...


class Resident:
    """Rows in memory as a feed: their order is a function of seed and epoch alone, whatever the number of workers."""

    def epoch(self: Any, seed: int, batch: int, state: LoopState, ranks: Ranks) -> Iterator[Batch]:
        """What is left of the present epoch: shuffled and cut on the device, each batch shared among the workers."""
        left = epoch_order(len(self), seed, state.epoch)[state.row :].to(self.device)
        for rows in left.split(batch) if len(left) else ():  # split makes one empty batch of nothing
            x_BF, y_BP = self.take(ranks.share(rows))
            yield Batch(x_BF, y_BP, len(rows))


@dataclass(frozen=True)
class Table(Resident):
    """Dense rows: inputs B × F, scaled targets B × P."""

    x_BF: Tensor
    y_BP: Tensor

    def __len__(self) -> int:
        return len(self.x_BF)

    @property
    def device(self) -> torch.device:
        return self.x_BF.device

    @classmethod
    def of(cls, x_BF: Any, y_BP: Any, device: torch.device | str = "cpu") -> Table:
        """From numpy arrays, as float32."""
        # A copy: arrays from Ray's object store are read-only.
        x, y = (torch.tensor(np.asarray(a, dtype=np.float32), device=device) for a in (x_BF, y_BP))
        return cls(x, y)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.x_BF[index], self.y_BP[index]


@dataclass(frozen=True)
class CompactTable(Resident):
    """Rows as the few fractions that are not zero: 5 bytes an element where a dense row is 344.

    Attributes:
        z_BK: uint8, the columns that a row's elements have in the input.
        f_BK: float32, their atomic fractions; 0 beyond a row's last element.
        y_BP: float32 scaled targets.
        features: F, the width of the input.
    """

    z_BK: Tensor
    f_BK: Tensor
    y_BP: Tensor
    features: int

    def __len__(self) -> int:
        return len(self.z_BK)

    @property
    def device(self) -> torch.device:
        return self.z_BK.device

    @classmethod
    def of(cls, z_BK: Any, f_BK: Any, y_BP: Any, features: int, device: torch.device | str = "cpu") -> CompactTable:
        """From numpy arrays."""
        return cls(
            torch.tensor(z_BK, dtype=torch.uint8, device=device),
            torch.tensor(f_BK, dtype=torch.float32, device=device),
            torch.tensor(np.asarray(y_BP, dtype=np.float32), device=device),
            features,
        )

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return dense(self.z_BK[index], self.f_BK[index], self.features), self.y_BP[index]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the rows take."""
        return sum(t.numel() * t.element_size() for t in (self.z_BK, self.f_BK, self.y_BP))


def dense(z_BK: Tensor, f_BK: Tensor, features: int) -> Tensor:
    """Columns and fractions → the dense input, float32 [B, F]."""
    x_BF = torch.zeros(len(z_BK), features, device=z_BK.device)
    return x_BF.scatter_add_(1, z_BK.long(), f_BK)  # what fills up a short row adds nothing


def epoch_order(rows: int, seed: int, epoch: int) -> Tensor:
    """The order of rows in an epoch, the same on every worker and machine."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return torch.from_numpy(generator.permutation(rows))
