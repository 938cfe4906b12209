"""The training loop, from the laptop's scratch net to the cluster's source model.

Each global batch is cut over the workers, whose losses are weighted by their rows, so that any number of workers walks
the same path. A row counts by the labels that it has: a missing one (NaN) adds nothing to loss or metrics.

Shape suffixes: B rows, F features, P properties. Targets are in scaled units.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xtlray.training.divergence import refuse_divergence
from xtlray.training.metrics import MeanErrors
from xtlray.training.precision import Precision, autocast, resolve_precision
from xtlray.training.ranks import Ranks
from xtlray.training.schedule import one_cycle
from xtlray.training.state import LoopState
from xtlray.training.table import Batch, Feed, Rows


@dataclass(frozen=True)
class Recipe:
    """How to train: `batch` is global (over all workers), `lr` the peak of a one-cycle schedule."""

    epochs: int
    batch: int
    lr: float
    seed: int
    weight_decay: float = 1e-2
    precision: Precision = "auto"


def fit(
    net: nn.Module,
    train: Feed,
    val: Rows,
    recipe: Recipe,
    *,
    ranks: Ranks | None = None,
    state: LoopState | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    step_end: Callable[[LoopState], None] = lambda state: None,
    epoch_end: Callable[[LoopState], bool] = lambda state: False,
) -> LoopState:
    """Train `net` in place, from `state` (default: the start) to the recipe's last epoch.

    Args:
        net: maps B × F to B × P.
        train: what gives the batches: a `Table`, a `CompactTable`, or a stream.
        val: validation rows (may be empty).
        recipe: how.
        ranks: this worker's place among the workers.
        state: where an earlier attempt stood; pass its `optimizer` too.
        step_end: called after each step with the state, which is all that it takes to go on from there.
        epoch_end: called after each epoch with the state; returns whether to stop.

    Raises:
        DivergedError: the loss is no longer a number, or has exploded.
    """
    ranks, state = ranks or Ranks(), state or LoopState()
    module = ranks.wrap(net)
    optimizer = optimizer or make_optimizer(net, recipe)
    per_epoch = steps_per_epoch(len(train), recipe.batch)
    while state.epoch < recipe.epochs:
        started = time.perf_counter() - state.seconds
        for batch in train.epoch(recipe.seed, recipe.batch, state, ranks):
            # By the epoch, not by `state.step`: going on with a stream, which has other rows, changes steps an epoch.
            step = state.epoch * per_epoch + state.row // recipe.batch
            set_lr(optimizer, one_cycle(step, recipe.epochs * per_epoch, recipe.lr))
            state.loss.add(*train_step(module, optimizer, batch, recipe, ranks))
            state.row += batch.rows
            state.step += 1
            state.seconds = time.perf_counter() - started
            step_end(state)
        entry = close(net, val, state, recipe, ranks, optimizer)
        state.close_epoch(
            {**entry, "lr": max(g["lr"] for g in optimizer.param_groups), "seconds": time.perf_counter() - started}
        )
        if epoch_end(state):
            break
    return state


def make_optimizer(net: nn.Module, recipe: Recipe, scales: Mapping[int, float] | None = None) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), fused: on a CPU the pass over the weights bounds small batches.

    Gains and shifts of norms do not decay: shrinking them restrains nothing. What needs no gradient stays as it is.

    Args:
        net: whose weights to train.
        recipe: learning rate and weight decay.
        scales: the share of the learning rate that a parameter has, by its `id`; 1 for one that is not in it.
    """
    scales = scales or {}
    exempt = {id(weight) for part in net.modules() if isinstance(part, nn.LayerNorm) for weight in part.parameters()}
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for weight in sorted((w for w in net.parameters() if w.requires_grad), key=lambda w: id(w) in exempt):
        decays, scale = id(weight) not in exempt, scales.get(id(weight), 1.0)
        decay = recipe.weight_decay if decays else 0.0
        empty: dict[str, Any] = {"params": [], "weight_decay": decay, "lr_scale": scale}
        groups.setdefault((decays, scale), empty)["params"].append(weight)
    return torch.optim.AdamW(list(groups.values()), lr=recipe.lr, fused=True)


def steps_per_epoch(rows: int, batch: int) -> int:
    """Steps of one epoch; the last batch may be short."""
    return math.ceil(rows / batch)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate, scaled by each group's `lr_scale` (1 where it has none)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def train_step(
    module: Any, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """One optimizer step; returns the sums of my rows' absolute errors (scaled units), and how many, by property."""
    device = batch.x_BF.device
    with autocast(resolve_precision(recipe.precision, device), device):
        predicted_BP = module(batch.x_BF)
    error_BP, label_BP = masked_errors(predicted_BP, batch.y_BP)
    # Workers' gradients are averaged, so each weighs its sum by world / rows: together, the mean over the global batch.
    (error_BP.sum() * (ranks.world / (batch.rows * error_BP.shape[1]))).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return error_BP.detach().sum(dim=0), label_BP.sum(dim=0)


def masked_errors(predicted_BP: Tensor, y_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute errors, 0 where the label is missing (NaN), and which labels are there."""
    label_BP = ~y_BP.isnan()
    error_BP = (predicted_BP.float() - y_BP.nan_to_num(0.0, posinf=torch.inf, neginf=-torch.inf)).abs()
    return torch.where(label_BP, error_BP, 0.0), label_BP


def close(
    net: nn.Module, val: Rows, state: LoopState, recipe: Recipe, ranks: Ranks, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The epoch's figures, over all workers: mean absolute errors in scaled units.

    `loss` (training) and `val` are of the first property; of several, `losses` and `vals` name each one's.
    """
    errors = evaluate(net, val, ranks, recipe)
    columns = [state.loss.totals, state.loss.counts, errors.totals, errors.counts]
    width = max(map(len, columns))
    # A worker without rows joins the sums with zeros; how wide they are, all know from the net's outputs.
    summed = ranks.sum([value for column in columns for value in (column or [0.0] * width)])
    total, count, val_total, val_count = (summed[i * width : (i + 1) * width] for i in range(4))
    losses, vals = _means(total, count), _means(val_total, val_count)
    entry = {"loss": losses[0], "val": vals[0], **({"losses": losses, "vals": vals} if width > 1 else {})}
    refuse_divergence(entry, state.history, net, state.epoch + 1, optimizer.param_groups[0]["lr"])
    return entry


def _means(totals: Sequence[float], counts: Sequence[float]) -> list[float | None]:
    return [total / count if count else None for total, count in zip(totals, counts, strict=True)]


def evaluate(net: nn.Module, rows: Rows, ranks: Ranks, recipe: Recipe) -> MeanErrors:
    """Absolute errors (scaled units) of my share of the rows, by property."""
    errors, device = MeanErrors(), rows.device
    net.eval()
    with torch.inference_mode(), autocast(resolve_precision(recipe.precision, device), device):
        for index in ranks.share(torch.arange(len(rows), device=device)).split(8192):
            x_BF, y_BP = rows.take(index)
            error_BP, label_BP = masked_errors(net(x_BF), y_BP)
            errors.add(error_BP.sum(dim=0), label_BP.sum(dim=0))
    net.train()
    return errors
