"""The leaderboard as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xtlray.records import ResultRecord

# Keys and headings; what a reader compares stands side by side.
BOARD = {
    "target": "target",
    "method": "method",
    "source": "source",
    "val_mae": "val MAE",
    "test_mae": "test MAE",
    "test_mae_spread": "± seeds",
    "unit": "unit",
    "rows": "train/val/test",
    "base_mae": "base",
    "ref_best_transfer": "paper transfer",
    "ref_best_scratch": "paper scratch",
    "seeds": "seeds",
    "seconds": "s",
    "model": "published as",
}


def board_rows(results: Iterable[ResultRecord]) -> list[dict[str, Any]]:
    """Rows for `BOARD`; a column that is empty throughout stays, so that tables of two runs look alike."""
    return [
        {
            **row.as_json(),
            "rows": f"{row.rows_train}/{row.rows_val}/{row.rows_test}",
            "seconds": round(row.seconds),
            "model": row.model or ("failed" if row.status == "failed" else None),
        }
        for row in results
    ]
