"""A target, and records of trials on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xtlray.records import OUT_OF_FOLD, TrialRecord


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    """Makes a trial's record; a field that is not given is that of a successful trial."""

    def make(val_mae: float | None, lr: float = 1e-3, seed: int = 0, **changes: Any) -> TrialRecord:
        fields = {
            "trial": f"t-{lr}-{seed}",
            "run": "tiny-00000000",
            "attempt": 1,
            "target": "user/gap",
            "method": "sc-dl-ef",
            "source": None,
            "config": {"lr": lr},
            "seed": seed,
            "status": "failed" if val_mae is None else "ok",
            "protocol": OUT_OF_FOLD,
            "split_id": "split",
            "rows_train": 24,
            "rows_val": 8,
            "val_mae": val_mae,
        }
        return TrialRecord(**{**fields, **changes})

    return make
