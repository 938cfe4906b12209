"""Learning curves: how a method's error falls with the training rows, each point from several draws of the rows.

Shape suffixes: B rows, T test rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field, PositiveInt

from xtlray.data.dataset import Dataset
from xtlray.errors import RequestError
from xtlray.store import Store
from xtlray.training.metrics import mae
from xtlray.transfer.campaign import Campaign, Say, mixtures_of, run_arms
from xtlray.transfer.settings import TransferSettings
from xtlray.transfer.task import FOLDS, Pool, make_pool


class CurveSettings(TransferSettings):
    """Settings of a job of kind `learning_curve`: those of a transfer job, and how many rows to draw how often."""

    fewest: PositiveInt = Field(20, description="rows of the first point")
    points: PositiveInt = Field(
        6, description="numbers of rows, evenly spaced in their logarithm, the last is all rows"
    )
    repeats: PositiveInt = Field(3, description="draws of the rows for each point but the last, which has them all")


def sizes(fewest: int, points: int, rows: int) -> list[int]:
    """Numbers of rows from `fewest` to all, log-spaced, each once."""
    if rows <= fewest or points == 1:
        return [rows]
    return sorted({round(n) for n in np.geomspace(fewest, rows, points)})


def drawn(pool: Pool, rows: int, seed: int) -> Pool:
    """So many of a pool's rows, or a few more: whole compositions, so that folds of them share none.

    Compositions with more than a tenth of them come last, unless all rows are drawn. Its name says how many and which
    draw.
    """
    name = f"{pool.target}.n{rows}.r{seed}"
    groups = pool.composition_B
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    count_of = np.bincount(groups)
    if rows < len(pool.y_B):
        order = order[np.argsort(count_of[order] > max(1, rows // 10), kind="stable")]
    taken = order[: int(np.searchsorted(np.cumsum(count_of[order]), rows)) + 1]
    place = np.full(len(count_of), -1)
    place[taken] = np.arange(len(taken)) % min(FOLDS, len(taken))
    fold_B = place[groups]
    keep = fold_B >= 0
    return replace(pool, target=name, x_BX=pool.x_BX[keep], y_B=pool.y_B[keep], fold_B=fold_B[keep].astype(np.uint8))


def run_curve(
    store: Store,
    campaign: Campaign,
    settings: CurveSettings,
    session: Callable[[], AbstractContextManager[None]],
    say: Say,
) -> list[dict[str, Any]]:
    """Fit every method on every draw, and score on the target's test rows.

    Returns:
        A point for each target, method, source and number of rows: `target, method, source, unit, rows` (mean of the
        draws), `draws, test_mae, test_mae_spread` (standard deviation over the draws), `rows_test`.

    Raises:
        RequestError: a target has no test rows, or fewer training rows than the first point.
    """
    whole = {name: _whole(dataset, campaign, settings) for name, dataset in campaign.datasets.items()}
    pools: dict[str, Pool] = {}
    of_target: dict[str, str] = {}
    for target, pool in whole.items():
        for rows in sizes(settings.fewest, settings.points, len(pool.y_B)):
            draws = 1 if rows == len(pool.y_B) else settings.repeats
            for seed in range(draws):
                part = drawn(pool, rows, seed)
                pools[part.target], of_target[part.target] = part, target
    units = {name: campaign.datasets[target].card.unit for name, target in of_target.items()}
    by_arm = run_arms(store, campaign, settings, pools, units, session, say)
    mixtures, _ = mixtures_of(store, settings, by_arm, pools)
    values = {name: _test_values(dataset, campaign) for name, dataset in campaign.datasets.items()}
    errors: dict[tuple[str, str, str | None, int], list[tuple[float, int]]] = {}
    for arm, mixture in sorted(mixtures.items(), key=lambda item: item[0].slug):
        target = of_target[arm.target]
        error = mae(values[target], mixture.test()[0])
        rows = int(arm.target.rsplit(".n", 1)[1].split(".r")[0])
        if error is not None and math.isfinite(error):
            errors.setdefault((target, arm.method, arm.source, rows), []).append((error, len(pools[arm.target].y_B)))
    return [
        {
            "target": target,
            "method": method,
            "source": source,
            "unit": campaign.datasets[target].card.unit,
            "rows": round(float(np.mean([rows for _, rows in found]))),
            "draws": len(found),
            "test_mae": float(np.mean([error for error, _ in found])),
            "test_mae_spread": float(np.std([error for error, _ in found])),
            "rows_test": len(values[target]),
        }
        for (target, method, source, _), found in errors.items()
    ]


def _whole(dataset: Dataset, campaign: Campaign, settings: CurveSettings) -> Pool:
    pool = make_pool(dataset, campaign.encoder)
    if not len(pool.x_test_TX) or len(pool.y_B) < settings.fewest:
        raise RequestError(
            "A learning curve cannot be made of this target",
            got=f"{pool.target}: {len(pool.y_B)} rows to train on, {len(pool.x_test_TX)} to test on",
            allowed=f"{settings.fewest} or more, and test rows",
            fix="name another target, or set fewest lower",
        )
    return pool


def _test_values(dataset: Dataset, campaign: Campaign) -> np.ndarray:
    rows = dataset.rows("test")
    return rows.y_B[campaign.encoder.fractions.encodable(rows.compositions)]
