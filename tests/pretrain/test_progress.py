"""An epoch in one line."""

from __future__ import annotations

import pytest

from xtlray.pretrain.progress import duration, epoch_line

ENTRY = {"epoch": 3, "rows": 1000, "seconds": 2.0, "loss": 0.5, "val": 0.25}


def test_an_epoch_in_one_line() -> None:
    line = epoch_line(ENTRY, 5, scale=2.0, unit="eV/atom")
    assert line == "epoch 3/5: training MAE 1, validation MAE 0.5 eV/atom (500 rows/s, 4 s left)"


def test_without_validation_rows_or_unit() -> None:
    assert epoch_line({**ENTRY, "val": None}, 3, 1.0, "") == "epoch 3/3: training MAE 0.5 (500 rows/s, 0 s left)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(89.4, "89 s"), (90, "2 min"), (5300, "88 min"), (5400, "1 h 30 min"), (86400, "24 h 0 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
