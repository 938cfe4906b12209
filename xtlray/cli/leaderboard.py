"""`xtlray leaderboard`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Context, command
from xtlray.errors import RequestError, WorkError, unknown

if TYPE_CHECKING:
    from xtlray.leaderboard.board import Board
    from xtlray.records import ResultRecord

VIEWS = ("best", "methods", "sources", "history")
EMPTY = "the leaderboard is empty: run a transfer job first"


@command()
@click.option("--target", metavar="PATTERN", help="Only targets that match a name or shell pattern.")
@click.option("--method", metavar="PATTERN", help="Only methods that match a name or shell pattern.")
@click.option("--source", metavar="PATTERN", help="Only what was carried over from that model; 'scratch' for the rest.")
@click.option("--status", type=click.Choice(["ok", "failed"]), help="Only results of that status.")
@click.option("--run", metavar="RUN", help="Only results of that run.")
@click.option(
    "--view",
    type=click.Choice(VIEWS),
    help="Instead of all rows: the best of each target; every method against every other; what each source model is "
    "good for; how the best of each target went over time.",
)
@click.option("--sort", metavar="COLUMN", help="By that column, as JSON and CSV name it, rather than by rank.")
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--compare", metavar="METHOD", help="Is this method better than the one of --against?")
@click.option("--against", metavar="METHOD", help="The method that --compare is compared with.")
@click.option("--published", is_flag=True, help="Set each target's chosen model beside published figures.")
@click.option("--rescore", is_flag=True, help="Work the test figures out again from what was predicted.")
@click.option("--rebuild", is_flag=True, help="Make the tables that other programs read anew, from all runs.")
@click.pass_obj
def leaderboard(ctx: Context, run: str | None, **options: Any) -> None:
    """Which method won on which target, by how much: one row per target, method and source.

    Rows are ranked by validation error; test errors are for the report and choose nothing. --compare tests two methods
    on the absolute errors of the same test rows (Wilcoxon, corrected over the targets after Holm); a method may be a
    pattern, such as 'sc-*', of which the best by validation stands for all. --view methods does so for every two.

    The rows also lie in the store as Delta tables, leaderboard/results and leaderboard/trials, which pandas, Polars,
    DuckDB and Spark read. This command adds what they lack.
    """
    from xtlray.leaderboard.board import keep_up, read_board

    _check({"run": run, **options})
    if options["rebuild"]:
        _rebuild(ctx)
        return
    if run and run not in (known := ctx.store.children("runs")):
        raise unknown("run", run, known, fix="see `xtlray leaderboard`")
    board = read_board(ctx.store, [run] if run else None)
    _show(ctx, board, options)
    keep_up(ctx.store, board)


def _check(options: Mapping[str, Any]) -> None:
    """Raises `RequestError` where options do not go together."""
    beside = [f"--{name}" for name, value in options.items() if value and name != "rebuild"]
    if options["rebuild"] and beside:
        raise RequestError("--rebuild is of all runs, and shows none", got=" and ".join(beside), fix="leave it out")
    if bool(options["compare"]) != bool(options["against"]):
        raise RequestError("--compare and --against go together", got="one of them", fix="name two methods")
    asked = [f"--{name}" for name in ("compare", "published", "rescore", "view") if options[name]]
    if len(asked) > 1:
        raise RequestError("These answer different questions", got=" and ".join(asked), allowed="one of them")
    if (options["sort"] or options["reverse"]) and asked not in ([], ["--view"]):
        raise RequestError(f"{asked[0]} has an order of its own", got="--sort or --reverse", fix="leave it out")


def _rebuild(ctx: Context) -> None:
    from xtlray.leaderboard.folding import fold_all
    from xtlray.leaderboard.rows import TABLES

    counts = fold_all(ctx.store)
    where = {f"{table.name}_table": ctx.store.url_of(table.folder) for table in TABLES}
    ctx.emit({**{f"rows_of_{name}": count for name, count in counts.items()}, **where})


def _show(ctx: Context, board: Board, options: Mapping[str, Any]) -> None:
    from xtlray.leaderboard.fold import rank
    from xtlray.leaderboard.select import select

    wanted = {name: options[name] for name in ("target", "method", "source", "status")}
    results, view = rank(select(board.results, **wanted)), options["view"]
    if options["compare"]:
        _compare(ctx, results, options["compare"], options["against"])
    elif options["published"]:
        _published(ctx, results)
    elif options["rescore"]:
        _rescore(ctx, results)
    elif view in (None, "best"):
        _rows(ctx, results, view == "best", options["sort"], options["reverse"])
    else:
        _view(ctx, view, board, results, options["sort"], options["reverse"])


def _rows(ctx: Context, results: Sequence[ResultRecord], best: bool, sort: str | None, reverse: bool) -> None:
    from xtlray.leaderboard.fold import COLUMNS, as_rows
    from xtlray.leaderboard.published import chosen
    from xtlray.leaderboard.select import ordered
    from xtlray.report.tables import BOARD, board_rows

    shown = ordered(chosen(results) if best else results, sort, reverse, COLUMNS, getattr)
    if ctx.for_people:
        ctx.emit(board_rows(shown), BOARD, empty=EMPTY)
    else:
        ctx.emit(as_rows(shown), COLUMNS)


def _view(
    ctx: Context, view: str, board: Board, results: Sequence[ResultRecord], sort: str | None, reverse: bool
) -> None:
    from xtlray.leaderboard import views
    from xtlray.leaderboard.select import ordered
    from xtlray.report.tables import HISTORY, SOURCES, methods_matrix, source_rows

    columns: Sequence[str]
    if view == "methods":
        rows, columns = views.methods(ctx.store, results), views.METHODS
    elif view == "sources":
        rows, columns = views.sources(results), views.SOURCES
    else:
        rows, columns = views.history(results, board.dates), views.HISTORY
    rows = ordered(rows, sort, reverse, columns, dict.get)
    if not ctx.for_people:
        ctx.emit(rows, columns)
    elif view == "methods":
        lines, headings = methods_matrix(rows)
        ctx.emit(lines, headings, empty="no two methods have results on the same test rows")
    elif view == "sources":
        ctx.emit(source_rows(rows), SOURCES, empty=EMPTY)
    else:
        ctx.emit(rows, HISTORY, empty="no run with results is finished")


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
    ctx.emit(rows, empty=EMPTY)
    wrong = [f"{row['target']} {row['method']} of {row['run']}" for row in rows if row["agrees"] is False]
    if wrong:
        raise WorkError("Test figures are not those of the predictions that were kept", got=", ".join(wrong[:5]))
