"""`xtlray store`: check, gc."""

from __future__ import annotations

import signal
from dataclasses import asdict

import click

from xtlray.cli.common import Context, group
from xtlray.cli.gc import gc


@group()
def store() -> None:
    """The place that holds everything: check whether it can be relied on, and clear up what was left behind."""


store.add_command(gc)


@store.command()
@click.argument("url", required=False)
@click.pass_context
def check(ctx: click.Context, url: str | None) -> None:
    """Try all that is needed of a store, on a scratch prefix that is removed again.

    URL is a folder or s3://bucket/prefix; without it, the store of --store or XTLRAY_STORE. Keys and server come from
    the usual variables and profiles (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_PROFILE …).

    Exit code 1 if anything is not as it should be; the table says what to set.
    """
    from xtlray.store_check import check_store

    context: Context = ctx.obj
    context.store_url = url or context.store_url
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, it cleans up as on Ctrl-C
    findings = []
    for finding in check_store(context.store):
        context.progress(f"{'ok' if finding.ok else 'FAILED':<7}{finding.check} ({finding.seconds:.2f} s)")
        findings.append(finding)
    context.emit([asdict(finding) for finding in findings], title=context.store.where)
    if not all(finding.ok for finding in findings):
        ctx.exit(1)
