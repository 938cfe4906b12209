"""Is the training still one? A loss that is no number, or that has exploded, ends it before a checkpoint is written.

All errors are in scaled units: 1 is the spread of the training targets, and the mean as the only answer errs by less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from xtlray.errors import WorkError

TIMES_BEST = 10.0  # an error so many times the best so far …
SPREADS = 10.0  # … and worse than so many spreads of the targets: no schedule brings it back
_FIX = "lower lr, or look for extreme target values with `xtlray data show`"


class DivergedError(WorkError):
    """The training has diverged: what it holds now is of no use."""


def refuse_divergence(
    entry: Mapping[str, Any], history: Sequence[Mapping[str, Any]], net: nn.Module, epoch: int, lr: float
) -> None:
    """Refuse an epoch that has diverged. Equal on all workers if `entry` and the weights are.

    Args:
        entry: the epoch's `loss` and `val`, of several properties `losses` and `vals` too; None without labels.
        history: the entries of the epochs before it.
        net: its weights are looked at too: without validation rows nothing else shows the last step's damage.
        epoch: its number, from 1.
        lr: its last learning rate.

    Raises:
        DivergedError: an error or a weight is not finite, or an error has exploded.
    """
    place = f"epoch {epoch}, learning rate {lr:.3g}"
    for name, value, best in _figures(entry, history):
        if not math.isfinite(value):
            raise DivergedError(
                "Training has diverged: the loss is not a number any more", got=f"{place}, {name} {value}", fix=_FIX
            )
        if value > SPREADS and value > TIMES_BEST * best:
            raise DivergedError(
                "Training has diverged: the loss has exploded",
                got=f"{place}, {name} {value:.3g} (in units of the targets' spread), the best before it {best:.3g}",
                fix=_FIX,
            )
    if not all(_finite(weight) for weight in net.parameters()):
        raise DivergedError("Training has diverged: a weight is not a number any more", got=place, fix=_FIX)


def with_checkpoint(error: DivergedError, folder: str) -> DivergedError:
    """The same error, naming the last good checkpoint's folder too."""
    return DivergedError(error.what, got=f"{error.got}; the last good checkpoint: {folder}", fix=error.fix)


def _figures(entry: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, float, float]]:
    """What each error is called, its value now, and its best before.

    The training error's is 1 at most, for the mean reaches that; a few validation rows may be far out from the start.
    """
    kinds = (("loss", "losses", "training error", 1.0), ("val", "vals", "validation error", math.inf))
    for one, several, name, reached in kinds:
        before = [_columns(past, one, several) for past in history]
        for p, value in enumerate(_columns(entry, one, several)):
            if value is None:
                continue
            known = [past[p] for past in before if p < len(past) and past[p] is not None]
            yield name, value, min([reached, *known])


def _columns(entry: Mapping[str, Any], one: str, several: str) -> Sequence[Any]:
    return entry.get(several) or [entry.get(one)]


def _finite(weight: Tensor) -> bool:
    return bool(weight.detach().isfinite().all())
