"""`xtlray run`, and the two commonest jobs without a file: `xtlray pretrain`, `xtlray transfer`."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Command, Context, command
from xtlray.errors import RequestError
from xtlray.termination import terminated

if TYPE_CHECKING:
    from xtlray.kinds.runner import Finished

log = logging.getLogger("xtlray")


class SeveralValues(Command):
    """Lets options that can be given more than once take several values in a row: `--target a b c`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        several = {name for param in self.params if param.multiple for name in param.opts}
        spread: list[str] = []
        option: str | None = None
        for word in args:
            if word.startswith("-") and len(word) > 1:
                name = word.partition("=")[0]
                option = name if name in several else None
            elif option and spread[-1] != option:
                spread.append(option)
            spread.append(word)
        return super().parse_args(ctx, spread)


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What can be said of any job."""
    for option in (
        click.option("--again", is_flag=True, help="Start a new run, even if there is one of this job."),
        click.option("--dry-run", is_flag=True, help="Print the resolved job and what it would cost; run nothing."),
        click.option(
            "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a key of the job, VALUE is YAML."
        ),
    ):
        function = option(function)
    return function


@command()
@click.argument("job", metavar="JOB.yaml", type=click.Path(path_type=Path))
@click.option("--expect", metavar="RUN", help="Refuse to run it as another run: its data may have changed since.")
@job_options
@click.pass_obj
def run(
    ctx: Context, job: Path, assignments: tuple[str, ...], dry_run: bool, again: bool, expect: str | None
) -> None:  # fmt: skip
    """Run a job file, resume it, or say that it is done.

    A run is found again by its job, its data and its sources: the same command after an interruption goes on.
    """
    from xtlray.kinds.runner import read_job

    _run(ctx, read_job(job), str(job), assignments, dry_run, again, expect=expect)


@click.command(cls=SeveralValues)
@click.option("--dataset", multiple=True, required=True, metavar="NAME", help="What to train on.")
@click.option("--name", required=True, metavar="MODEL", help="Name of the model, and of the job.")
@click.option("--net", help="Name of a net.  [default: elemnet]")
@click.option("--epochs", type=int, default=30, show_default=True)
@click.option("--batch", type=int, help="Rows of a global batch.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--seed", type=int)
@click.option("--workers", help="A number, or a range like 1-4.")
@job_options
@click.pass_obj
def pretrain(
    ctx: Context, dataset: tuple[str, ...], name: str, assignments: tuple[str, ...], dry_run: bool, again: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Pretrain a source model without a job file; prints the job file that it amounts to."""
    from xtlray.names import check_model_name

    check_model_name(name)
    given = {key: value for key, value in settings.items() if value is not None}
    job = {"kind": "pretrain", "name": name.replace("/", "-"), "dataset": list(dataset), **given, "model": name}
    _run(ctx, job, "the command line", assignments, dry_run, again, show=True)


@click.command(cls=SeveralValues)
@click.option("--source", multiple=True, metavar="MODEL", help="Models to carry over.")
@click.option("--target", multiple=True, required=True, metavar="PATTERN_OR_FILE", help="Datasets, or your own file.")
@click.option("--method", multiple=True, metavar="M", help="Methods.  [default: all]")
@click.option("--net", help="Net of the methods that start from scratch.")
@click.option("--seeds", type=int, help="How many seeds are averaged.")
@click.option("--effort", type=click.Choice(["quick", "standard", "full"]))
@click.option("--name", default="transfer", show_default=True, help="Name of the job.")
@click.option("--unit", help="Unit of the target in a file.")
@click.option("--formula-column", help="Column of the formulas in a file.")
@click.option("--target-column", help="Column of the target in a file.")
@job_options
@click.pass_obj
def transfer(
    ctx: Context, source: tuple[str, ...], target: tuple[str, ...], method: tuple[str, ...], name: str,
    unit: str | None, formula_column: str | None, target_column: str | None, assignments: tuple[str, ...],
    dry_run: bool, again: bool, **settings: Any,
) -> None:  # fmt: skip
    """Model small targets without a job file; prints the job file that it amounts to.

    A target that is a file (CSV or Parquet) is first ingested as user/<file stem>.
    """
    targets = [_ingested(ctx, text, unit, formula_column, target_column) if _is_file(text) else text for text in target]
    if len(set(targets)) < len(targets):
        raise RequestError(
            "Two targets have one name", got=", ".join(targets), fix="give each file another name, or each target once"
        )
    given = {key: value for key, value in settings.items() if value is not None}
    lists = {"source": list(source), "targets": targets, "methods": list(method)}
    job = {"kind": "transfer", "name": name, **{key: value for key, value in lists.items() if value}, **given}
    _run(ctx, job, "the command line", assignments, dry_run, again, show=True)


def _is_file(text: str) -> bool:
    return Path(text).is_file() or re.search(r"\.(csv|parquet|gz)$", text.lower()) is not None


def _ingested(ctx: Context, path: str, unit: str | None, formulas: str | None, target: str | None) -> str:
    from xtlray.catalog import SOURCES
    from xtlray.data.ingest import ingest_file

    if not unit:
        raise RequestError("A target from a file needs its unit", got=path, fix="add --unit, such as --unit eV")
    stem = Path(path).name.lower().removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    name = "user/" + (re.sub(r"[^a-z0-9_.-]+", "-", stem).lstrip("_.-") or "target")
    card = ingest_file(ctx.store, path, name, unit, formula_column=formulas, target_column=target, reserved=SOURCES)
    ctx.progress(f"{path} is {name}: {card.ingest.rows_kept} of {card.ingest.rows_read} rows kept")
    return name


def _run(
    ctx: Context,
    job: dict[str, Any],
    where: str,
    assignments: tuple[str, ...],
    dry_run: bool,
    again: bool,
    show: bool = False,
    expect: str | None = None,
) -> None:
    import yaml

    from xtlray.kinds.runner import override, resolve_job, run_job

    job = override(job, assignments)
    if show and not dry_run:
        ctx.progress(f"# as a job file:\n{yaml.safe_dump(job, sort_keys=False).rstrip()}")
    resolved = resolve_job(ctx.store, job, where, log.info)
    if expect:
        _check(resolved, expect)
    if dry_run:
        _show_plan(ctx, resolved)
        return
    try:
        finished = run_job(ctx.store, resolved, again, log.info)
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or terminated():
            ctx.progress("stopped; what is finished is kept. To go on, give the same command again.")
        raise
    _show(ctx, finished)
    if finished.status == "failed":
        raise click.exceptions.Exit(1)


def _check(job: Any, expected: str) -> None:
    from xtlray.runs import run_id

    found = run_id(job.name, job.identity)
    if found != expected:
        raise RequestError(
            "The job is another run than the one that is expected: its data or its sources have changed",
            got=found,
            allowed=expected,
            fix="submit it anew, or leave out --expect",
        )


def _show_plan(ctx: Context, job: Any) -> None:
    import yaml

    from xtlray.kinds import get_kind
    from xtlray.runs import run_id

    plan = get_kind(job.kind).plan(ctx.store, job)
    identifier = run_id(job.name, job.identity)
    full = job.settings.model_dump(mode="json")
    if ctx.json:
        ctx.emit({"run": identifier, "job": {"kind": job.kind, "name": job.name, **full}, "plan": plan})
        return
    text = {"kind": job.kind, "name": job.name, **full}
    click.echo(f"# run {identifier}\n{yaml.safe_dump(text, sort_keys=False, default_flow_style=None, width=110)}")
    click.echo(
        f"# what it would take\n{yaml.safe_dump(plan, sort_keys=False, default_flow_style=None, width=110)}".rstrip()
    )


def _show(ctx: Context, finished: Finished) -> None:
    from xtlray.leaderboard.fold import rank, read_results
    from xtlray.report.tables import BOARD, board_rows

    for note in finished.notes:
        log.warning("%s", note)
    if ctx.json:
        ctx.emit(finished.as_json())
        return
    results = rank(read_results(ctx.store, [finished.run]))
    if results:
        ctx.emit(board_rows(results), BOARD, title="Leaderboard of this run (errors in each target's unit)")
    elif finished.extra.get("points"):
        _show_curve(ctx, finished.extra["points"])
    elif "bench" in finished.extra:
        _show_bench(ctx, {**finished.extra["bench"], "bench_file": finished.extra["bench_file"]})
    minutes = finished.seconds / 60
    ctx.progress(f"\n{finished.run}: {finished.status}, attempt {finished.attempt}, {minutes:.1f} minutes")
    ctx.progress(f"its files: {ctx.store.url_of('runs/' + finished.run)}")
    if results:
        ctx.progress(f"its report: {ctx.store.url_of(f'reports/{finished.run}/index.html')}")
    if "plot_file" in finished.extra:
        ctx.progress(f"its picture: {finished.extra['plot_file']}")
    if finished.models:
        ctx.progress("\nTo try next:")
        for line in _next_steps(ctx, finished.models):
            ctx.progress(f"  {line}")


def _show_curve(ctx: Context, points: list[dict[str, Any]]) -> None:
    """The points of learning curves: of each target, number of rows by number of rows, the best method first."""
    order = sorted(points, key=lambda point: (point["target"], point["rows"], point["test_mae"]))
    shown = ("target", "rows", "method", "source", "test_mae", "test_mae_spread", "unit", "draws", "rows_test")
    ctx.emit([{name: point[name] for name in shown} for point in order], title="Test error against training rows")


def _show_bench(ctx: Context, figures: dict[str, Any]) -> None:
    """The figures of a benchmark; for people, what is a table in itself stands below them."""
    tables = {
        name: value
        for name, value in figures.items()
        if ctx.for_people and isinstance(value, list) and value and isinstance(value[0], dict)
    }
    ctx.emit({name: value for name, value in figures.items() if name not in tables}, title="Measured")
    for name, rows in tables.items():
        click.echo()
        ctx.emit(rows, title=name)


def _next_steps(ctx: Context, models: list[str]) -> list[str]:
    from xtlray.store import BUILTIN_VARIABLE

    # Where this is a submitted job, its path is no concern of whoever reads its log.
    known = shutil.which("xtlray") or BUILTIN_VARIABLE in os.environ
    program = "xtlray" if known else _shortest(Path(sys.argv[0]))
    store = f" --store {ctx.store_url}" if ctx.store_url else ""
    name = models[-1].partition("@")[0]
    return [
        f"{program} predict {name}@best TiAl3 NiAl{store}",
        f"{program} leaderboard --target {name}{store}" if len(models) > 1 else f"{program} models list{store}",
        f"{program} models show {models[-1]}{store}",
    ]


def _shortest(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:  # the program lies elsewhere
        return str(path)
