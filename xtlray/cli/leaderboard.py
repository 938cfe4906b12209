"""`xtlray leaderboard`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from xtlray.cli.common import Context, command
from xtlray.errors import RequestError, WorkError

if TYPE_CHECKING:
    from xtlray.records import ResultRecord


@command()
@click.option("--target", metavar="PATTERN", help="Only targets that match a name or shell pattern.")
@click.option("--run", metavar="RUN", help="Only results of that run.")
@click.option("--compare", "method", metavar="METHOD", help="Is this method better than the one of --against?")
@click.option("--against", metavar="METHOD", help="The method that --compare is compared with.")
@click.option("--published", is_flag=True, help="Set each target's chosen model beside published figures.")
@click.option("--rescore", is_flag=True, help="Work the test figures out again from what was predicted.")
@click.pass_obj
def leaderboard(
    ctx: Context,
    target: str | None,
    run: str | None,
    method: str | None,
    against: str | None,
    published: bool,
    rescore: bool,
) -> None:
    """Which method won on which target, by how much: one row per target, method and source.

    Rows are ranked by validation error; test errors are for the report and choose nothing. --compare tests two methods
    on the absolute errors of the same test rows (Wilcoxon, corrected over the targets after Holm); a method may be a
    pattern, such as 'sc-*', of which the best by validation stands for all.
    """
    from xtlray.leaderboard.fold import COLUMNS, as_rows, matching, rank, read_results
    from xtlray.report.tables import BOARD, board_rows

    if bool(method) != bool(against):
        raise RequestError("--compare and --against go together", got="one of them", fix="name two methods")
    results = rank(matching(read_results(ctx.store, [run] if run else None), target))
    if method and against:
        _compare(ctx, results, method, against)
    elif published:
        _published(ctx, results)
    elif rescore:
        _rescore(ctx, results)
    elif ctx.format == "table":
        ctx.emit(board_rows(results), BOARD, empty="the leaderboard is empty: run a transfer job first")
    else:
        ctx.emit(as_rows(results), COLUMNS)


def _compare(ctx: Context, results: Sequence[ResultRecord], method: str, against: str) -> None:
    from xtlray.leaderboard.compare import compare, summary

    found = compare(ctx.store, results, method, against)
    counts = summary(found)
    if ctx.format == "json":
        ctx.emit({"method": method, "against": against, **counts, "by_target": [each.as_json() for each in found]})
        return
    several = max(len({each.arm for each in found}), len({each.against for each in found})) > 1
    columns = {
        "target": "target",
        "rows_test": "test rows",
        **({"arm": "what", "against": "against"} if several else {}),
        "test_mae": method,
        "against_mae": against,
        "unit": "unit",
        "p": "p (Holm)",
        "verdict": f"{method} is",
    }
    ctx.emit([each.as_json() for each in found], columns)
    ctx.progress(
        f"{method} has the lower test MAE on {counts['lower_mae']} of {counts['targets']} targets; it is better on "
        f"{counts['better']}, worse on {counts['worse']}, and on {counts['no_significant_difference']} there is no "
        "significant difference. Targets with the same test rows and values count once"
    )


def _published(ctx: Context, results: Sequence[ResultRecord]) -> None:
    from xtlray.leaderboard.published import against_published

    found = against_published(ctx.store, results)
    if ctx.format == "json":
        ctx.emit(found)
        return
    columns = {
        "target": "target",
        "method": "chosen",
        "test_mae": "test MAE",
        "best_transfer": "paper transfer",
        "best_scratch": "paper scratch",
        "unit": "unit",
        "ratio": "ratio",
    }
    ctx.emit(found["by_target"], columns, empty="no target of these has test rows and published figures")
    if found["targets"]:
        ctx.progress(
            f"Of {found['targets']} targets: below the best published transfer on {found['below_best_transfer']}, "
            f"below the best published model from scratch on {found['below_best_scratch']}; the median ratio to the "
            f"lower of the two is {found['median_ratio']:.3f}. Targets with the same test rows and values count once"
        )


def _rescore(ctx: Context, results: Sequence[ResultRecord]) -> None:
    from xtlray.leaderboard.predictions import rescore

    rows = [rescore(ctx.store, result) for result in results]
    ctx.emit(rows, empty="the leaderboard is empty: run a transfer job first")
    wrong = [f"{row['target']} {row['method']} of {row['run']}" for row in rows if row["agrees"] is False]
    if wrong:
        raise WorkError("Test figures are not those of the predictions that were kept", got=", ".join(wrong[:5]))
