"""How much each level of effort spends on a target: the same for every method, from scratch or carried over."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Any

from xtlray.store import canonical_json
from xtlray.training.loop import steps_per_epoch
from xtlray.transfer.settings import Effort

Config = dict[str, Any]
# Of what decides which trials there are and how they are judged, beside the numbers below: see `search_identity`.
SEARCH = 4
FEW_ROWS = 2_000  # below, configurations are compared by cross-validation
VERY_FEW_ROWS = 500
_TRIAL_FOLDS = 2
_NET_PART, _HEAD_PART = 6, 3  # the first rung has a sixth of a net's visits, or a third of a regressor's rows
_FEWEST_ROWS, _MOST_ROWS = 1_000, 5_000  # of a first rung; the most of a regressor's


@dataclass(frozen=True)
class Budget:
    """What an effort spends.

    Attributes:
        visits: rows × epochs of a net's training, within the bounds of `epochs`.
        steps: of the optimizer at most: on a small batch a step costs the pass over the weights, whatever the rows.
        epochs: fewest and most.
        nets: configurations that a method with a net tries on a target.
        heads: the same of a method with scikit-learn regressors. The second figure is for fewer than `FEW_ROWS` rows.
        trees: of gradient boosting; the more, the slower each of them learns.
        seeds: members of a model; each holds out another fold. The second figure is for fewer than `FEW_ROWS` rows, the
            third for fewer than `VERY_FEW_ROWS`: there a fit costs seconds, and one fold says little.
    """

    visits: int
    steps: int
    epochs: tuple[int, int]
    nets: int
    heads: tuple[int, int]
    trees: int
    seeds: tuple[int, int, int]


BUDGETS: dict[Effort, Budget] = {
    "quick": Budget(26_000, 320, (2, 60), 1, (1, 2), 80, (1, 2, 3)),
    "standard": Budget(68_000, 750, (4, 100), 2, (3, 3), 200, (2, 3, 6)),
    "full": Budget(600_000, 8_000, (25, 150), 12, (26, 26), 300, (5, 8, 10)),
}


def search_identity(effort: Effort) -> str:
    """What a run's id holds of the search: with another budget, or other rungs, the same job is another run."""
    rungs = (_TRIAL_FOLDS, _NET_PART, _HEAD_PART, _FEWEST_ROWS, _MOST_ROWS, FEW_ROWS, VERY_FEW_ROWS)
    return hashlib.sha256(canonical_json([SEARCH, asdict(BUDGETS[effort]), rungs])).hexdigest()[:8]


def members_for(effort: Effort, rows: int, seeds: int | None = None) -> int:
    """How many seeds, and so folds, the model of a target with that many rows has; `seeds` if a job says so."""
    return seeds or BUDGETS[effort].seeds[(rows < FEW_ROWS) + (rows < VERY_FEW_ROWS)]


def folds_to_compare(rows: int, members: int) -> int:
    """How many folds configurations are compared on."""
    return min(members, _TRIAL_FOLDS) if rows < FEW_ROWS else 1


def epochs_for(effort: Effort, rows: int, batch: int) -> int:
    """Epochs of a net on that many rows."""
    budget = BUDGETS[effort]
    wanted = min(budget.visits / max(1, rows), budget.steps / steps_per_epoch(rows, batch))
    return min(budget.epochs[1], max(budget.epochs[0], round(wanted)))


def first_rung(config: Config) -> Config:
    """A configuration with a part of its epochs, if it has any: a whole schedule, not the beginning of one."""
    if "epochs" not in config:
        return config
    return {**config, "epochs": max(2, math.ceil(config["epochs"] / _NET_PART))}


def rows_of_first_rung(config: Config, rows: int) -> int:
    """On how many training rows it is fitted: for a net, so many that epochs × rows are a sixth; at most `rows`.

    Args:
        config: the whole configuration, as the second rung has it.
        rows: how many there are.
    """
    if "epochs" in config:
        wanted = math.ceil(rows * config["epochs"] / (_NET_PART * first_rung(config)["epochs"]))
    else:
        wanted = min(rows // _HEAD_PART, _MOST_ROWS)
    return min(rows, max(_FEWEST_ROWS, wanted))
