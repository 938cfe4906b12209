"""`xtlray submit`: send a job file to a cluster, once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Context, command
from xtlray.cli.jobs import address_option, follow_to_the_end

if TYPE_CHECKING:
    from xtlray.kinds.kind import Resolved
    from xtlray.submit.jobs import Job, Jobs
    from xtlray.submit.reach import Reach

log = logging.getLogger("xtlray")


@command()
@click.argument("job", metavar="JOB.yaml", type=click.Path(path_type=Path))
@address_option
@click.option("--follow", is_flag=True, help="Show the job's log, and end with its exit code.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a key of the job, VALUE is YAML."
)
@click.option("--again", is_flag=True, help="Start a new run, even if this job is done.")
@click.option(
    "--shared-path", "shared", multiple=True, metavar="PATH", help="A folder that all nodes mount, for a store in it."
)
@click.pass_obj
def submit(
    ctx: Context, job: Path, address: str | None, follow: bool, assignments: tuple[str, ...], again: bool,
    shared: tuple[str, ...],
) -> None:  # fmt: skip
    """Send a job file to a Ray cluster, where it runs as `xtlray run JOB.yaml` would here; prints the job's id.

    What travels is the code of this program and the job. The cluster must reach the store, and have the same packages
    installed, but for this one. The same job submitted again is found, and runs once.
    """
    from xtlray.submit.jobs import Jobs
    from xtlray.submit.reach import jobs_address, reachable_store

    where = jobs_address(address)
    reach = reachable_store(ctx.store_url, shared, where)
    resolved = _resolved(ctx, job, assignments)
    outcome = None if again or _always_new(resolved) else _outcome(ctx, resolved)
    jobs = Jobs.at(where)
    if outcome is not None:
        _say_done(ctx, jobs, resolved, reach, outcome)
        return
    found, fresh = _submitted(ctx, jobs, resolved, reach, again)
    if not follow:
        ctx.progress(
            f"its log, which begins with the packages that differ there: xtlray jobs logs {found.id} --address {where}"
        )
        _show(ctx, found, fresh)
        return
    if ctx.format == "table":
        click.echo(found.id)
    ended = follow_to_the_end(ctx, jobs, found.id, lambda text: click.echo(text, nl=False, err=True))
    if ctx.format != "table":
        _show(ctx, ended, fresh)
    if ended.code:
        raise click.exceptions.Exit(ended.code)


def _resolved(ctx: Context, job: Path, assignments: tuple[str, ...]) -> Resolved:
    from xtlray.kinds.runner import override, read_job, resolve_job

    return resolve_job(ctx.store, override(read_job(job), assignments), str(job), log.info)


def _always_new(resolved: Resolved) -> bool:
    from xtlray.kinds import get_kind

    return get_kind(resolved.kind).always_new


def _outcome(ctx: Context, resolved: Resolved) -> Mapping[str, Any] | None:
    """What came of the job, if it is done: the store knows that, though the cluster may be another one."""
    from xtlray.runs import newest_run

    run = newest_run(ctx.store, resolved.name, resolved.identity)
    return run.outcome(ctx.store) if run else None


def _say_done(ctx: Context, jobs: Jobs, resolved: Resolved, reach: Reach, outcome: Mapping[str, Any]) -> None:
    """Say that there is nothing to do; the exit code is that of the run."""
    from xtlray.runs import run_id
    from xtlray.submit.submission import latest

    run, failed = run_id(resolved.name, resolved.identity), outcome["status"] == "failed"
    ctx.progress(f"{run} {'has failed' if failed else 'is done'} already (run it anew with --again)")
    last = latest(jobs, run, reach)
    if ctx.format != "table":
        ctx.emit({"id": last.id if last else None, "run": run, "status": outcome["status"], "submitted": False})
    elif last:
        click.echo(last.id)
    if failed:
        raise click.exceptions.Exit(1)


def _submitted(ctx: Context, jobs: Jobs, resolved: Resolved, reach: Reach, again: bool) -> tuple[Job, bool]:
    import yaml

    from xtlray.runs import run_id
    from xtlray.submit.submission import Order
    from xtlray.submit.submission import submit as send

    settings = resolved.settings.model_dump(mode="json")
    text = yaml.safe_dump({"kind": resolved.kind, "name": resolved.name, **settings}, sort_keys=False)
    order = Order(run_id(resolved.name, resolved.identity), resolved.kind, text, reach, again)
    sent = send(jobs, order, ctx.store, ctx.progress)
    if sent.fresh:
        ctx.progress(f"submitted to {jobs.address}: {sent.job.id}")
    else:
        ctx.progress(f"{sent.job.id} is {sent.job.status} already, so it was not submitted again")
    return sent.job, sent.fresh


def _show(ctx: Context, job: Job, fresh: bool) -> None:
    if ctx.format == "table":
        click.echo(job.id)
    else:
        ctx.emit({**job.as_json(), "submitted": fresh})
