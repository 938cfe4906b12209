"""`xtlray status`: what runs, how far it is, what failed, how long it will take; from the store alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Context, command

if TYPE_CHECKING:
    from xtlray.status import RunStatus

COLUMNS = ("run", "state", "attempt", "doing", "done", "failed", "left", "last_sign")


@command()
@click.argument("run", required=False)
@click.pass_obj
def status(ctx: Context, run: str | None) -> None:
    """What runs now, how far, failures so far, time left.

    Without RUN, all runs that are not done, and the last few that are. It reads the store alone: a run may be driven
    on any machine that reaches it. An attempt whose driver has died without a word is shown as one that gives no sign
    of life; give the same command again, and it goes on.
    """
    from xtlray.status import overview, status_of

    if run is None:
        found = overview(ctx.store)
        rows = [_row(each) for each in found] if ctx.for_people else [each.as_json() for each in found]
        ctx.emit(rows, COLUMNS if ctx.for_people else None, empty="no run has been started in this store")
        return
    one = status_of(ctx.store, run)
    if not ctx.for_people:
        ctx.emit(one.as_json())
        return
    ctx.emit(_in_full(one))
    stages = [stage.model_dump(exclude={"schema_version"}) for stage in one.stages]
    if len(stages) > 1:
        click.echo()
        ctx.emit(stages, title="Stages")
    if one.errors:
        click.echo()
        ctx.emit([{"error": text} for text in one.errors], title="First failures")
    if one.state in ("silent", "stopped"):
        ctx.progress("to go on, give the same command again: what is finished is kept")


def _row(one: RunStatus) -> dict[str, Any]:
    return {
        "run": one.run,
        "state": _state(one),
        "attempt": one.attempt,
        "doing": one.doing,
        "done": _share(one),
        "failed": one.failed or None,
        "left": _left(one),
        "last_sign": one.last_sign,
    }


def _in_full(one: RunStatus) -> dict[str, Any]:
    row = _row(one)
    full = {
        **{name: row.pop(name) for name in ("run", "state", "attempt", "doing", "done", "failed", "left")},
        "rows/s": None if one.rows_per_s is None else round(one.rows_per_s),
        "disk full": None if one.disk_full is None else f"{one.disk_full:.0%}",
        "ended by": one.ended if one.state == "stopped" else None,
        "last sign": one.last_sign,
        **one.details,
    }
    return {name: value for name, value in full.items() if value not in (None, [], {})}


def _state(one: RunStatus) -> str:
    if one.state == "silent":
        return f"no sign of life for {_duration(one.silent_s) or 'a while'}"
    return one.state


def _share(one: RunStatus) -> str | None:
    """Such as `12/32 epochs`."""
    if one.done is None:
        return None
    return f"{one.done}/{one.total} {one.unit}" if one.total is not None else f"{one.done} {one.unit}"


def _left(one: RunStatus) -> str | None:
    """A pretraining knows only of itself, and not of the sweep that comes after it in a pipeline."""
    left = _duration(one.left_s)
    return f"{left} of {one.doing}" if left and one.unit == "epochs" else left


def _duration(seconds: float | None) -> str | None:
    from xtlray.pretrain.progress import duration

    return None if seconds is None else duration(seconds)
