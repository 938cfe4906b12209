"""`xtlray models search`, what can be searched for, how a model was made, and the index behind it all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click

from xtlray.cli.common import Command, Context, command
from xtlray.errors import RequestError

if TYPE_CHECKING:
    from xtlray.registry.search import Found

log = logging.getLogger("xtlray")
_FOUND = {
    "model": "model", "property": "property", "val_mae": "val MAE", "test_mae": "test MAE", "unit": "unit",
    "rows_train": "rows", "method": "method", "source": "source", "net": "net", "elements": "elements",
    "created": "created",
}  # fmt: skip
_HISTORY = ("seed", "fold", "epoch", "step", "loss", "val", "lr", "rows", "seconds")


@command()
@click.argument("text", nargs=-1)
@click.option(
    "--property", "property_", metavar="NAME", help="As SOURCE/PROPERTY, the part behind the slash, or the label."
)
@click.option("--source", metavar="MODEL", help="That it was carried over from; 'none': from none.")
@click.option("--input", "input_", metavar="NAME", help="What it reads; or one kind of column that its members read.")
@click.option("--net", metavar="NAME", help="That a member is made of.")
@click.option("--method", metavar="NAME", help="That made it.")
@click.option("--element", metavar="SYMBOLS", help="That its training rows held, such as Fe or Fe,O.")
@click.option("--unit", metavar="UNIT", help="Of the property, such as eV/atom.")
@click.option("--min-rows", type=click.IntRange(min=0), metavar="N", help="Training rows at least.")
@click.option(
    "--max-mae", type=float, metavar="X", help="In the property's unit: test MAE at most, else validation MAE."
)
@click.option(
    "--sort",
    type=click.Choice(["val_mae", "test_mae", "created", "name"]),
    help="Errors ascending, newest first.  [default: val_mae with --property, else created]",
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Models shown at most.")
@click.option("--all-versions", is_flag=True, help="All versions of a name that fit, not only the first.")
@click.pass_obj
def search(
    ctx: Context, text: tuple[str, ...], property_: str | None, input_: str | None, limit: int, **given: Any
) -> None:
    """Find models by what is known of them.

    Each word of TEXT has to stand in a model's name, property, label, method, net, source or citation. All that is
    given has to hold; names may be shell patterns such as 'jarvis/*'. Of each name one version is shown: of those
    that fit, the first in the order. A model of several properties is shown with the one that was asked for, else
    its first.
    """
    from xtlray.registry.search import Query
    from xtlray.registry.search import search as find

    query = Query(text=" ".join(text), property=property_, input=input_, **given)
    found = find(ctx.store, query, limit, ctx.progress)
    ctx.emit(_for_people(found) if ctx.for_people else found.rows(), _FOUND, empty="no model fits all of this")
    for note in found.notes:
        ctx.progress(note)
    if found.fitting > limit:
        ctx.progress(f"{limit} of {found.fitting:,} are shown: see --limit and --sort")


def _for_people(found: Found) -> list[dict[str, Any]]:
    """Rows with a word on what a table has no column for: further properties, further versions that fit."""
    rows = found.rows()
    for row in rows:
        others = len(row["properties"]) - 1
        row["property"] = (row["property"] or "") + (f" +{others}" if others > 0 else "")
    return rows


def _counted(name: str, what: str, columns: list[str], text: str) -> Command:
    """A command that lists the values of `what` with how many models there are."""

    @command(name, help=text)
    @click.pass_obj
    def listing(ctx: Context) -> None:
        from xtlray.registry.search import counts

        ctx.emit(counts(ctx.store, what, ctx.progress), [what, "models", "versions", *columns])

    return listing


properties = _counted(
    "properties",
    "property",
    ["label", "unit", "val_mae", "model"],
    "Properties, counted. With the lowest validation error of each, and the model that has it.",
)
inputs = _counted("inputs", "input", ["properties"], "What models read, counted.")
descriptors = _counted("descriptors", "descriptors", ["properties"], "What models' members read, counted.")
nets = _counted("nets", "net", ["properties"], "What models are made of, counted: nets and regressors.")


@command()
@click.argument("model")
@click.pass_obj
def history(ctx: Context, model: str) -> None:
    """The training of MODEL, epoch by epoch. Errors are MAEs of its first property."""
    from xtlray.registry.making import training_history
    from xtlray.registry.versions import resolve

    ref = resolve(ctx.store, model, ctx.progress)
    card = ref.card()
    rows = training_history(card)
    columns = [name for name in _HISTORY if any(row.get(name) is not None for row in rows)]
    title = f"{ref}: {card.label}" + (f", {card.unit}" if card.unit else "")
    ctx.emit(rows, columns or None, title, empty=f"the card of {ref} tells nothing of its training")


@command()
@click.argument("model")
@click.pass_obj
def environment(ctx: Context, model: str) -> None:
    """What MODEL was made with. A table sets the libraries beside those of this program."""
    from xtlray.registry import making
    from xtlray.registry.versions import resolve

    made = making.environment(resolve(ctx.store, model, ctx.progress).card())
    if not ctx.for_people:
        ctx.emit(made)
        return
    ctx.emit({key: value for key, value in made.items() if key != "versions"})
    click.echo()  # or Markdown takes both tables for one
    ctx.emit(making.beside_here(made), {"library": "library", "made_with": "made with", "here": "here", "same": "same"})


@command()
@click.option("--rebuild", is_flag=True, help="Make it anew from all cards.")
@click.option("--compact", is_flag=True, help="Merge all of it, and delete what nothing needs.")
@click.pass_obj
def index(ctx: Context, rebuild: bool, compact: bool) -> None:
    """The index that searches read: how big it is. It keeps itself short; the cards are the truth."""
    from xtlray.registry import compaction, rebuilding

    if rebuild and compact:
        raise RequestError("--rebuild and --compact do not go together", got="both", fix="--rebuild does all of it")
    done: dict[str, Any] = {}
    if rebuild:
        cards = rebuilding.rebuild(ctx.store, ctx.progress)
        for name, problem in cards.damaged.items():
            log.warning("the card of %s cannot be read, so no search finds it: %s", name, problem)
        done = {"versions": cards.versions, "unreadable": sorted(cards.damaged)}
    if compact:
        done = {"merged": compaction.fold(ctx.store, whole=True)}
    if rebuild or compact:
        done["deleted_keys"] = rebuilding.sweep(ctx.store)
    state = rebuilding.state(ctx.store)
    if not state["complete"]:
        ctx.progress("the index does not hold all models yet: the first search makes it, or --rebuild")
    ctx.emit({**state, **done})


COMMANDS = (search, properties, inputs, descriptors, nets, history, environment, index)
