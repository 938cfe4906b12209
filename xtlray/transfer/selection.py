"""Choosing, from validation figures alone. Pure functions: the same records in any order give the same choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from xtlray.records import TrialRecord
from xtlray.store import canonical_json

T = TypeVar("T")


def choose_config(records: Sequence[TrialRecord]) -> dict[str, Any] | None:
    """The configuration with the lowest mean validation MAE over its seeds; None where no trial succeeded.

    Ties go to the configuration that comes first in canonical JSON, so that arrival order decides nothing.
    """
    errors: dict[bytes, list[float]] = {}
    configs: dict[bytes, dict[str, Any]] = {}
    for record in records:
        if record.status == "ok" and record.val_mae is not None:
            key = canonical_json(record.config)
            configs[key] = record.config
            errors.setdefault(key, []).append(record.val_mae)
    if not errors:
        return None
    return configs[min(errors, key=lambda key: (sum(sorted(errors[key])) / len(errors[key]), key))]


def choose_lowest(candidates: Iterable[tuple[float | None, str, T]]) -> T | None:
    """Of `(validation MAE, name, thing)` the thing with the lowest error, ties by name; None where there is none."""
    valid = [(error, name, thing) for error, name, thing in candidates if error is not None]
    return min(valid, key=lambda one: (one[0], one[1]))[2] if valid else None
