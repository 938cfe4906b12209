"""What a job would cost, for `--dry-run`: a few steps are timed on this machine, the rest is counting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from xtlray import provenance
from xtlray.chem.fractions import ELEMNET_ELEMENTS, FractionEncoder
from xtlray.data.dataset import open_dataset
from xtlray.data.joined import join
from xtlray.data.overlap import keys_tested_on, rows_among
from xtlray.nn.nets import build_net, count_weights
from xtlray.pretrain.settings import PretrainSettings
from xtlray.store import Store, canonical_json
from xtlray.training.loop import Recipe, fit, steps_per_epoch
from xtlray.training.table import Table
from xtlray.transfer.budget import first_rung, members_for, rows_of_first_rung
from xtlray.transfer.plan import COMPARE, KEEP, Facts, arms_of, first_trials, group_by_arm, most_trials
from xtlray.transfer.settings import TransferSettings

ENCODER = FractionEncoder(ELEMNET_ELEMENTS)
START_S = 25.0  # Ray's start and the first import of torch in its workers
BYTES_PER_WEIGHT = 4
BYTES_PER_KEPT_WEIGHT = 2  # of a trial
PREDICT_SHARE = 1.15  # validation, checkpoints and records on top of the steps


@cache
def _step_seconds(net: bytes, batch: int, threads: int, outputs: int = 1) -> float:
    """Seconds of one optimizer step, timed here."""
    import json

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        module = build_net(json.loads(net), len(ELEMNET_ELEMENTS), outputs, seed=0)
        x_BF = np.tile(np.eye(len(ELEMNET_ELEMENTS)), (batch // len(ELEMNET_ELEMENTS) + 1, 1))[:batch]
        x_BF = (x_BF + np.roll(x_BF, 1, axis=1) + np.roll(x_BF, 2, axis=1)) / 3  # three elements, as most rows hold
        rows = Table.of(x_BF, np.zeros((batch, outputs)))
        none = Table.of(rows.x_BF[:0], rows.y_BP[:0])
        fit(module, rows, none, Recipe(2, batch, 1e-6, 0))
        started = time.perf_counter()
        fit(module, rows, none, Recipe(3, batch, 1e-6, 0))
        return (time.perf_counter() - started) / 3
    finally:
        torch.set_num_threads(before)


def _weights(net: dict[str, Any]) -> int:
    return count_weights(build_net(net, len(ELEMNET_ELEMENTS), 1, seed=0))


def pretrain_cost(store: Store, settings: PretrainSettings, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Rows, steps, minutes on this machine, megabytes of disk."""
    datasets = [open_dataset(store, name, hashes[name]) for name in settings.dataset]
    assert isinstance(settings.net, dict)
    excluded = keys_tested_on(open_dataset(store, name, hashes[name]) for name in settings.exclude_compositions_of)
    left_out = {dataset.card.name: rows_among(dataset, "train", excluded) for dataset in datasets if excluded}
    if len(datasets) == 1:
        rows = datasets[0].card.splits["train"] - sum(left_out.values())
    else:
        rows = len(join(datasets, "train", ENCODER, excluded))
    steps = settings.epochs * steps_per_epoch(rows, settings.batch)
    workers = settings.worker_range[1]
    threads = max(1, provenance.cores() // workers)
    share = max(1, settings.batch // workers)
    seconds = steps * _step_seconds(canonical_json(settings.net), share, threads, len(datasets))
    weights = _weights(settings.net)
    labels = {dataset.card.name: dict(dataset.card.splits) for dataset in datasets}
    return {
        "rows": labels[settings.dataset[0]] if len(datasets) == 1 else labels,
        "rows_per_epoch": rows,
        **({"rows_left_out": left_out} if left_out else {}),
        "weights": weights,
        "epochs": settings.epochs,
        "steps": steps,
        "workers": settings.workers,
        "minutes_here": _minutes(seconds),
        # Two checkpoints of weights and two moments each while it runs, and the published weights.
        "disk_mb": round(7 * weights * BYTES_PER_WEIGHT / 1e6, 1),
    }


def transfer_cost(
    store: Store, settings: TransferSettings, hashes: Mapping[str, str], nets: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Trials, rows, minutes on this machine, megabytes of disk."""
    splits = {name: open_dataset(store, name, value).card.splits for name, value in hashes.items()}
    rows = {name: counts.get("train", 0) + counts.get("val", 0) for name, counts in splits.items()}
    arms = arms_of(settings, rows, nets)
    facts = {name: _facts(store, name, value) for name, value in hashes.items()}
    first = first_trials(arms, settings, facts, nets)
    slots = max(1, int(provenance.cores() // settings.cpus_per_trial))
    seconds, kept, heads = 0.0, 0, 0
    for arm, specs in group_by_arm(first).items():
        known = rows[arm.target]
        members = members_for(settings.effort, known, settings.seeds)
        planned = [(spec.config, spec.rung, 1) for spec in specs]
        if specs[0].rung == COMPARE:  # which configuration is kept nobody knows yet: they cost much the same
            planned.append((specs[0].config, KEEP, members))
        for config, rung, times in planned:
            fitted = known
            if rung == COMPARE:
                config, fitted = first_rung(config), rows_of_first_rung(config, known)
            if "epochs" in config:
                net = config.get("net") or nets[arm.sources[0]]
                steps = config["epochs"] * steps_per_epoch(fitted, config["batch"])
                step_s = _step_seconds(canonical_json(net), config["batch"], max(1, int(settings.cpus_per_trial)))
                seconds += times * steps * step_s
            heads += times * ("regressor" in config)
        if "epochs" in specs[0].config:
            kept += members * _weights(specs[0].config.get("net") or nets[arm.sources[0]])
    return {
        "targets": len(rows),
        "rows_train": sum(rows.values()),
        "trials": most_trials(first, settings, facts),
        "trials_by_method": dict(Counter(spec.arm.method for spec in first)),
        "at_once_here": slots,
        "minutes_here": _minutes(seconds / slots),
        # Their time hangs on the rows themselves, as a forest's depth does.
        "not_in_minutes": f"{heads} trials of scikit-learn regressors" if heads else None,
        "disk_mb": round(kept * BYTES_PER_KEPT_WEIGHT / 1e6, 1),
    }


def _facts(store: Store, name: str, data_hash: str) -> Facts:
    dataset = open_dataset(store, name, data_hash)
    y_B = np.concatenate([dataset.rows(split).y_B for split in ("train", "val")])
    return Facts.of(data_hash, y_B) if len(y_B) else Facts(data_hash, 0)


def _minutes(seconds: float) -> float:
    return round((START_S + seconds * PREDICT_SHARE) / 60, 1)
