"""The leaderboard and its views as tables for people: what stands in which column, under which heading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
SOURCES = {
    "source": "source",
    "methods": "methods",
    "targets": "targets",
    "results": "results",
    "failed": "failed",
    "chosen": "best on",
    "median_mae_over_base": "MAE/base",
    "with_scratch": "targets with scratch",
    "below_scratch": "lower",
    "above_scratch": "higher",
}
HISTORY = {
    "target": "target",
    "when": "when",
    "method": "method",
    "source": "source",
    "val_mae": "val MAE",
    "reason": "why",
    "test_mae": "test MAE",
    "unit": "unit",
    "model": "published as",
    "run": "run",
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


def source_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for `SOURCES`, of those of `xtlray.leaderboard.views.sources`."""
    return [{**row, "source": row["source"] or "from scratch"} for row in rows]


def methods_matrix(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Who is better than whom, as a matrix: its rows, and its columns with their headings.

    Each cell is on how many of how many targets the method of the line is better than that of the column.

    Args:
        rows: as `xtlray.leaderboard.views.methods` has them.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines: dict[str, dict[str, Any]] = {name: {"method": name} for name in names}
    for row in rows:
        lines[row["method"]][f"against {row['against']}"] = f"{row['better']}/{row['targets']}"
    return list(lines.values()), {"method": "better than →", **{f"against {name}": name for name in names}}
