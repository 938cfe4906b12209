"""`xtlray models`: what is published, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xtlray.cli import model_search
from xtlray.cli.common import Context, group
from xtlray.errors import RequestError, WorkError

if TYPE_CHECKING:
    from xtlray.registry.exchange import Copied

_COLUMNS = ["model", "aliases", "method", "source", "val_mae", "test_mae", "unit", "members", "run"]


@group()
def models() -> None:
    """Published models: list, show, verify, promote, pull, push, copy, delete."""


@models.command("list")
@click.pass_obj
def list_(ctx: Context) -> None:
    """All versions of all models, with their errors and aliases."""
    from xtlray.registry.library import list_models

    rows = list_models(ctx.store)
    columns = _COLUMNS
    if any(len(row["properties"] or ()) > 1 for row in rows):
        columns = [columns[0], "property", *columns[1:]]
        if ctx.format == "table":
            rows = [{**row, "property": _first_and_more(row["properties"])} for row in rows]
    columns = [*columns, "problem"] if any(row["problem"] for row in rows) else columns
    ctx.emit(rows, columns, empty="no model is published yet: run a job first")


def _first_and_more(properties: list[str] | None) -> str | None:
    """`oqmd/formation_energy +3`: unit and errors are of the first."""
    if not properties:
        return None
    return properties[0] + (f" +{len(properties) - 1}" if properties[1:] else "")


@models.command()
@click.argument("model")
@click.pass_obj
def show(ctx: Context, model: str) -> None:
    """A model's card: property, method, data, errors, lineage, files."""
    import yaml

    from xtlray.cli.card import readable
    from xtlray.registry.library import describe
    from xtlray.registry.versions import resolve

    card = describe(resolve(ctx.store, model, ctx.progress))
    if ctx.format == "table":
        click.echo(
            yaml.safe_dump(
                readable(card), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
            ).rstrip()
        )
    else:
        ctx.emit(card)


@models.command()
@click.argument("model", required=False)
@click.option("--all", "every", is_flag=True, help="All models of the store and of the package.")
@click.option("--at-once", type=click.IntRange(1, 64), default=2, show_default=True, help="How many, of all.")
@click.pass_obj
def verify(ctx: Context, model: str | None, every: bool, at_once: int) -> None:
    """Hash a model's files and card again, rebuild it, let it predict and compare that with its golden answers."""
    from xtlray.registry.verifying import all_models, verify_all
    from xtlray.registry.verifying import verify as check
    from xtlray.registry.versions import resolve

    if every == (model is not None):
        raise RequestError(
            "Verifying needs a model, or --all",
            got="both" if every else "neither",
            fix="xtlray models verify MODEL, or xtlray models verify --all",
        )
    if model is not None:
        ctx.emit(check(resolve(ctx.store, model, ctx.progress)))
        return
    rows = verify_all(all_models(ctx.store), at_once)
    ctx.emit(rows, empty="no model is published yet: run a job first")
    bad = [row["model"] for row in rows if row["status"] == "bad"]
    if bad:
        raise WorkError(
            f"{len(bad)} of {len(rows)} models are bad",
            got=", ".join(bad[:5]) + ", …" * (len(bad) > 5),
            fix="restore their files, or delete them: xtlray models delete MODEL",
        )


@models.command()
@click.argument("model")
@click.option("--alias", required=True, help="Such as production.")
@click.option(
    "--protect/--unprotect", default=None, help="Whether it moves on only with --force.  [default: as before]"
)
@click.option("--force", is_flag=True, help="Move it though it is protected.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for its history.")
@click.pass_obj
def promote(ctx: Context, model: str, alias: str, protect: bool | None, force: bool, reason: str) -> None:
    """Let an alias mean a version: MODEL is NAME@3 or NAME@ALIAS."""
    from xtlray.registry.promotion import promote as move

    done = move(ctx.store, model, alias, protect=protect, force=force, reason=reason, announce=ctx.progress)
    said = f"{done.ref.name}@{alias} means {done.ref}"
    if not done.moved:
        ctx.progress(f"{said} already: nothing was written")
    elif done.before not in (None, done.ref.version):
        ctx.progress(f"{said} now, and meant @{done.before} before")
    answer = {"model": str(done.ref), "alias": alias, "from": done.before, "protected": done.protected}
    ctx.emit({**answer, "moved": done.moved})


@models.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_obj
def pull(ctx: Context, model: str, folder: Path) -> None:
    """Write a model's files and card to a plain folder, each checked."""
    from xtlray.registry.exchange import pull as write
    from xtlray.registry.versions import resolve

    done = write(resolve(ctx.store, model, ctx.progress), folder)
    if not done.new:
        ctx.progress(f"{done.ref} is in {folder} already: nothing was written")
    answer = {"model": str(done.ref), "folder": str(folder), "files": done.files, "mb": done.bytes / 1e6}
    ctx.emit({**answer, "new": done.new})


@models.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.pass_obj
def push(ctx: Context, folder: Path, name: str | None) -> None:
    """Publish the model in a folder, such as `pull` writes, as a new version.

    NAME is that of its card unless it is given.
    """
    from xtlray.registry.exchange import push as publish

    _say_copied(ctx, publish(ctx.store, folder, name))


@models.command()
@click.argument("model")
@click.option("--to", required=True, metavar="URL", help="The other store: a folder or s3://bucket/prefix.")
@click.option("--name", help="The copy's name.  [default: the model's]")
@click.pass_obj
def copy(ctx: Context, model: str, to: str, name: str | None) -> None:
    """Publish a model in another store as a new version."""
    from xtlray.registry.exchange import copy as publish
    from xtlray.registry.versions import resolve
    from xtlray.store import Store

    _say_copied(ctx, publish(resolve(ctx.store, model, ctx.progress), Store.open(to), name))


def _say_copied(ctx: Context, done: Copied) -> None:
    if not done.new:
        ctx.progress(f"the same is there as {done.ref}: nothing was written")
    ctx.emit({"model": str(done.ref), "copied_from": done.copied_from, "new": done.new})


@models.command()
@click.argument("model")
@click.option("--force", is_flag=True, help="Even if an alias means it.")
@click.pass_obj
def delete(ctx: Context, model: str, force: bool) -> None:
    """Delete a version for good: MODEL is NAME@3 or NAME@ALIAS.

    Says what depended on it. Its number is never given again.
    """
    from xtlray.registry.removal import delete as remove

    done = remove(ctx.store, model, force=force, announce=ctx.progress)
    if done.finished:
        ctx.progress(f"somebody had begun to delete {done.ref}: what was left of it is gone now")
    on = {"aliases": done.on.aliases, "models": done.on.models, "results": done.on.results}
    for kind, names in on.items():
        if names:
            ctx.progress(f"{kind} that depended on it: {', '.join(names)}")
    ctx.emit({"deleted": str(done.ref), "files": done.files, **on})


for _each in model_search.COMMANDS:
    models.add_command(_each)
