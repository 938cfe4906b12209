"""The training loop, from the laptop's scratch net to the cluster's source model.

The order of rows is a function of seed and epoch alone. Each global batch is cut over the workers, whose losses are
weighted by their rows, so that any number of workers walks the same path.

Shape suffixes: B rows, F features, P properties. Targets are in scaled units.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xtlray.errors import WorkError
from xtlray.training.precision import Precision, autocast, resolve_precision
from xtlray.training.ranks import Ranks
from xtlray.training.schedule import one_cycle
from xtlray.training.state import LoopState


@dataclass(frozen=True)
class Recipe:
    """How to train: `batch` is global (over all workers), `lr` the peak of a one-cycle schedule."""

    epochs: int
    batch: int
    lr: float
    seed: int
    weight_decay: float = 1e-2
    precision: Precision = "auto"


@dataclass(frozen=True)
class Table:
    """Rows to train on or to score, on the device where that happens: inputs B × F, scaled targets B × P."""

    x_BF: Tensor
    y_BP: Tensor

    def __len__(self) -> int:
        return len(self.x_BF)

    @classmethod
    def of(cls, x_BF: Any, y_BP: Any, device: torch.device | str = "cpu") -> Table:
        """From numpy arrays, as float32."""
        # A copy: arrays from Ray's object store are read-only.
        x, y = (torch.tensor(np.asarray(a, dtype=np.float32), device=device) for a in (x_BF, y_BP))
        return cls(x, y)


def fit(
    net: nn.Module,
    train: Table,
    val: Table,
    recipe: Recipe,
    *,
    ranks: Ranks | None = None,
    state: LoopState | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    epoch_end: Callable[[LoopState], bool] = lambda state: False,
) -> LoopState:
    """Train `net` in place, from `state` (default: the start) to the recipe's last epoch.

    Args:
        net: maps B × F to B × P.
        train: training rows; `val`: validation rows (may be empty).
        recipe: how.
        ranks: this worker's place among the workers.
        state: where an earlier attempt stood; pass its `optimizer` too.
        epoch_end: called after each epoch with the state; returns whether to stop.

    Raises:
        WorkError: the loss is no longer a number.
    """
    ranks, state = ranks or Ranks(), state or LoopState()
    module = ranks.wrap(net)
    optimizer = optimizer or make_optimizer(net, recipe)
    total = recipe.epochs * steps_per_epoch(len(train), recipe.batch)
    while state.epoch < recipe.epochs:
        started = time.perf_counter()
        for rows, mine in batches(len(train), recipe, state, ranks):
            set_lr(optimizer, one_cycle(state.step, total, recipe.lr))
            loss = train_step(module, optimizer, train, mine, rows, recipe, ranks)
            state.loss.add(loss, len(mine))
            state.row += rows
            state.step += 1
        entry = close(net, val, state, recipe, ranks, optimizer)
        state.close_epoch({**entry, "lr": optimizer.param_groups[0]["lr"], "seconds": time.perf_counter() - started})
        if epoch_end(state):
            break
    return state


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), fused: on a CPU the pass over the weights bounds small batches."""
    return torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def steps_per_epoch(rows: int, batch: int) -> int:
    """Steps of one epoch; the last batch may be short."""
    return math.ceil(rows / batch)


def epoch_order(rows: int, seed: int, epoch: int) -> Tensor:
    """The order of rows in an epoch, the same on every worker and machine."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return torch.from_numpy(generator.permutation(rows))


def batches(rows: int, recipe: Recipe, state: LoopState, ranks: Ranks) -> Iterator[tuple[int, Tensor]]:
    """What is left of the present epoch: for each global batch its size and my rows of it."""
    left = epoch_order(rows, recipe.seed, state.epoch)[state.row :]
    for batch in left.split(recipe.batch) if len(left) else ():  # split makes one empty batch of nothing
        yield len(batch), ranks.share(batch)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate, scaled by each group's `lr_scale` (1 where it has none)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def train_step(
    module: Any,
    optimizer: torch.optim.Optimizer,
    train: Table,
    mine: Tensor,
    rows: int,
    recipe: Recipe,
    ranks: Ranks,
) -> float:
    """One optimizer step; returns the sum of my rows' absolute errors (scaled units)."""
    device = train.x_BF.device
    index = mine.to(device)
    with autocast(resolve_precision(recipe.precision, device), device):
        predicted_BP = module(train.x_BF[index])
    total = (predicted_BP.float() - train.y_BP[index]).abs().mean(dim=1).sum()
    # Workers' gradients are averaged, so each weighs its sum by world / rows: together, the mean over the global batch.
    (total * (ranks.world / rows)).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(total.detach())


def close(
    net: nn.Module, val: Table, state: LoopState, recipe: Recipe, ranks: Ranks, optimizer: torch.optim.Optimizer
) -> dict[str, float | None]:
    """The epoch's figures: training loss and validation error, both mean absolute errors in scaled units."""
    error, count = evaluate(net, val, ranks, recipe)
    loss, rows, error, scored = ranks.sum([state.loss.total, float(state.loss.count), error, float(count)])
    if not (math.isfinite(loss) and math.isfinite(error)):  # the last step's damage shows in the validation error
        raise WorkError(
            "Training has diverged: the loss is not a number any more",
            got=f"epoch {state.epoch + 1}, learning rate {optimizer.param_groups[0]['lr']:.3g}",
            fix="lower lr, or look for extreme target values with `xtlray data show`",
        )
    return {"loss": loss / rows, "val": error / scored if scored else None}


def evaluate(net: nn.Module, table: Table, ranks: Ranks, recipe: Recipe) -> tuple[float, int]:
    """Sum of absolute errors (scaled units) and number of my rows of `table`."""
    mine = ranks.share(torch.arange(len(table)))
    device = table.x_BF.device
    total = 0.0
    net.eval()
    with torch.inference_mode(), autocast(resolve_precision(recipe.precision, device), device):
        for rows in mine.split(8192):
            predicted_BP = net(table.x_BF[rows]).float()
            total += float((predicted_BP - table.y_BP[rows]).abs().mean(dim=1).sum())
    net.train()
    return total, len(mine)
