"""A run as one HTML page that needs nothing else: the picture, the table, what made it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from xtlray.records import ResultRecord
from xtlray.report.plots import error_plot
from xtlray.report.published import published_plot
from xtlray.report.tables import BOARD, board_rows

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px } th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd }
td { font-variant-numeric: tabular-nums } th { text-align: left } pre { background: #f6f6f6; padding: 1rem }
svg { max-width: 100%; height: auto }
"""


def report_page(
    run: str,
    results: Sequence[ResultRecord],
    facts: Mapping[str, Any],
    job: str,
    published: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page of a run.

    Args:
        run: its id.
        results: its leaderboard rows, ranked.
        facts: what to say above the job file: commit, versions, hardware.
        job: the text of its `job.yaml`.
        published: chosen results beside published figures, as `xtlray.leaderboard.published` has them by target.
    """
    plot = error_plot(results, "Test errors by target and method")
    svg = plot[plot.index("<svg") :] if plot else "<p>No target has test rows.</p>"
    beside = published_plot(published)
    if beside:
        svg = f"{beside[beside.index('<svg') :]}{svg}"
    head = "".join(f"<th>{html.escape(title)}</th>" for title in BOARD.values())
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(key)))}</td>" for key in BOARD) + "</tr>"
        for row in board_rows(results)
    )
    said = "".join(f"<li>{html.escape(name)}: {html.escape(str(value))}</li>" for name, value in facts.items())
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(run)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(run)}</h1>{svg}"
        "<p>Errors are in each target's unit, on test rows that chose nothing; rows are ranked by validation error. "
        "Differences are not tested for significance.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<h2>What made it</h2><ul>{said}</ul><pre>{html.escape(job)}</pre></html>"
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
