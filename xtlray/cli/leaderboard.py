"""`xtlray leaderboard`."""

from __future__ import annotations

import click

from xtlray.cli.common import Context, command


@command()
@click.option("--target", metavar="PATTERN", help="Only targets that match a name or shell pattern.")
@click.pass_obj
def leaderboard(ctx: Context, target: str | None) -> None:
    """Which method won on which target, by how much: one row per target, method and source.

    Rows are ranked by validation error; test errors are for the report and choose nothing.
    """
    from xtlray.leaderboard.fold import COLUMNS, as_rows, matching, rank, read_results
    from xtlray.report.tables import BOARD, board_rows

    results = rank(matching(read_results(ctx.store), target))
    if ctx.format == "table":
        ctx.emit(board_rows(results), BOARD, empty="the leaderboard is empty: run a transfer job first")
    else:
        ctx.emit(as_rows(results), COLUMNS)
