"""`xtlray store gc`: what interrupted runs left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Context, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xtlray.registry.leftovers import Leftover


@command("gc")
@click.option("--dry-run", is_flag=True, help="Only show it.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Leave alone what was written to since: it may be in use.",
)
@click.pass_obj
def gc(ctx: Context, dry_run: bool, older_than: float) -> None:
    """Delete what interrupted runs left behind.

    That is files of models, datasets and checks of the store that were never completed, the rest of models that were
    being deleted, what finished runs need no more, and parts of the library's index that no search reads. Models,
    cards, records, results and aliases stay.
    """
    from xtlray.registry.leftovers import find, remove

    ctx.progress(f"looking through {ctx.store.url_of('').rstrip('/')}")
    found = find(ctx.store, older_than)
    if found.young:
        ctx.progress(f"{found.young} more may be in use: something in them is younger than {older_than:g} h")
    gone = found.leftovers if dry_run else [each for each in found.leftovers if remove(ctx.store, each)]
    if len(gone) < len(found.leftovers):
        ctx.progress(f"{len(found.leftovers) - len(gone)} have changed meanwhile and were left alone")
    ctx.emit(_rows(gone, dry_run), ["kind", "count", "files", "mb", "why"], empty="nothing was left behind")
    if gone:
        size = sum(each.bytes for each in gone) / 1e6
        ctx.progress(f"{size:.1f} MB " + ("would be deleted without --dry-run" if dry_run else "deleted"))


def _rows(leftovers: Sequence[Leftover], dry_run: bool) -> list[dict[str, Any]]:
    """One per kind."""
    from xtlray.registry.leftovers import KINDS

    rows = []
    for kind, why in KINDS.items():
        own = [each for each in leftovers if each.kind == kind]
        if own:
            rows.append(
                {
                    "kind": kind,
                    "count": len(own),
                    "files": sum(len(each.items) for each in own),
                    "mb": sum(each.bytes for each in own) / 1e6,
                    "why": why,
                    "deleted": not dry_run,
                    "places": [each.place for each in own],
                }
            )
    return rows
