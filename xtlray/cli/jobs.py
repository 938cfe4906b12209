"""`xtlray jobs`: what a cluster was sent. List, show, logs, stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Context, group
from xtlray.errors import WorkError

if TYPE_CHECKING:
    from xtlray.submit.jobs import Job, Jobs

COLUMNS = {"id": "id", "status": "status", "kind": "kind", "started": "started", "seconds": "seconds", "store": "store"}


def address_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the cluster is."""
    return click.option(
        "--address",
        metavar="URL",
        help="The cluster's dashboard, http://HEAD:8265.  [env: RAY_API_SERVER_ADDRESS, or RAY_ADDRESS over http]",
    )(function)


@group()
def jobs() -> None:
    """What a cluster was sent: list, show, logs, stop."""


@jobs.command("list")
@address_option
@click.pass_obj
def list_(ctx: Context, address: str | None) -> None:
    """All jobs that were submitted to the cluster, the latest first."""
    ctx.emit([job.as_json() for job in _jobs(address).all()], COLUMNS, empty="no job was submitted to this cluster")


@jobs.command()
@click.argument("job", metavar="ID")
@address_option
@click.pass_obj
def show(ctx: Context, job: str, address: str | None) -> None:
    """What the cluster knows of a job."""
    ctx.emit(_jobs(address).get(job).as_json())


@jobs.command()
@click.argument("job", metavar="ID")
@click.option("--follow", is_flag=True, help="Until the job ends, and end with its exit code.")
@address_option
@click.pass_obj
def logs(ctx: Context, job: str, follow: bool, address: str | None) -> None:
    """What a job has printed."""
    from xtlray.scrub import scrub

    known = _jobs(address)
    if not follow:
        text = scrub(known.log(job))
        if ctx.json:
            ctx.emit({"id": job, "log": text})
        else:
            click.echo(text, nl=False)
        return
    known.get(job)
    ended = follow_to_the_end(ctx, known, job, lambda text: click.echo(text, nl=False, err=ctx.json))
    if ctx.json:
        ctx.emit(ended.as_json())
    if ended.code:
        raise click.exceptions.Exit(ended.code)


@jobs.command()
@click.argument("job", metavar="ID")
@address_option
@click.pass_obj
def stop(ctx: Context, job: str, address: str | None) -> None:
    """End a job; what it has finished is kept, and the same job submitted again goes on from there."""
    known = _jobs(address)
    if known.get(job).active:
        ctx.progress(f"{job} is told to stop")
    ended = known.stop(job)
    ctx.progress(f"{job} {_ended(ended)}")
    if ctx.format != "table":
        ctx.emit(ended.as_json())


def follow_to_the_end(ctx: Context, known: Jobs, job: str, write: Callable[[str], None]) -> Job:
    """Show a job's log until it ends. After Ctrl-C, or when the cluster has gone, it is said how to look again."""
    from xtlray.submit.follow import again, follow

    try:
        ended = follow(known, job, write)
    except KeyboardInterrupt:
        ctx.progress(f"\n{job} goes on. To look again: {again(known, job)}")
        ctx.progress(f"To end it: xtlray jobs stop {job} --address {known.address}")
        raise
    ctx.progress(f"{job} {_ended(ended)}")
    if ended.exit_code is None and ended.status == "failed":
        raise WorkError(f"{job} did not come to run", got=" ".join(ended.message.split())[:1000])
    return ended


def _ended(job: Job) -> str:
    code = f", exit code {job.exit_code}" if job.exit_code else ""
    return {"stopped": "was stopped", "failed": f"has failed{code}"}.get(job.status, f"has {job.status}")


def _jobs(address: str | None) -> Jobs:
    from xtlray.submit.jobs import Jobs
    from xtlray.submit.reach import jobs_address

    return Jobs.at(jobs_address(address))
