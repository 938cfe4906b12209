"""What every command shares: the common options, accepted at any level, and the one `Context` they are merged into.

A command file needs `command` or `group` from here and `click.pass_obj`:

    @group()
    def data() -> None:
        "Datasets: list, show, fetch, ingest."

    @data.command("list")
    @click.pass_obj
    def list_(ctx: Context) -> None:
        ctx.emit(rows, columns=["name", "unit"])

Results go to stdout by `Context.emit`, everything else to stderr by `Context.progress` and the `xtlray` logger.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import click

from xtlray.errors import unknown
from xtlray.scrub import scrub

if TYPE_CHECKING:
    from xtlray.cli.output import Columns
    from xtlray.store import Store

Format = Literal["table", "csv", "json", "md"]


class Context:
    """The merged common options of one call, and the ways a command may speak.

    Attributes:
        store_url: what `--store` said; None leaves it to `XTLRAY_STORE` and the default.
        format: how results are printed.
        quiet: no progress, only warnings.
        verbose: more of the log, and tracebacks.
    """

    def __init__(self) -> None:
        self.store_url: str | None = None
        self.format: Format = "table"
        self.quiet = False
        self.verbose = False

    @property
    def json(self) -> bool:
        return self.format == "json"

    @property
    def for_people(self) -> bool:
        """Whether the answer is to be read: figures in four digits, some of the columns, under headings."""
        return self.format in ("table", "md")

    @cached_property
    def store(self) -> Store:
        """The store, opened at first use. Raises `RequestError` where it cannot be."""
        from xtlray.store import Store

        return Store.open(self.store_url)

    def progress(self, text: str) -> None:
        """A line on stderr for whoever waits; nothing with `--quiet`."""
        if not self.quiet:
            click.echo(text, err=True)

    def emit(
        self,
        answer: Mapping[str, Any] | Iterable[Any],
        columns: Columns | None = None,
        title: str | None = None,
        empty: str = "nothing to show",
    ) -> None:
        """Print a result on stdout in the format that was asked for.

        Args:
            answer: rows (mappings or records), or one mapping.
            columns: keys that a table shows, in this order, or a mapping from key to heading; CSV has them first.
                JSON and CSV always carry every key, Markdown what a table has.
            title: a line above a table.
            empty: said on stderr instead of a table without rows.
        """
        from xtlray.cli import output

        answer = answer if isinstance(answer, Mapping) else list(answer)
        if self.format == "json":
            click.echo(output.as_json(answer))
        elif self.format == "csv":
            click.echo(output.as_csv(answer, columns))
        elif answer and self.format == "md":
            click.echo(output.as_markdown(answer, columns, title))
        elif answer:
            click.echo(output.as_table(answer, columns, title))
        else:
            self.progress(empty)

    def configure_logging(self) -> None:
        """Send the `xtlray` logger to stderr, at the level that was asked for."""
        logger = logging.getLogger("xtlray")
        handler = _terminal_handler() if sys.stderr.isatty() else logging.StreamHandler()
        logger.handlers = [handler]
        handler.setFormatter(_Plain())
        logger.propagate = False
        handler.setLevel(logging.DEBUG if self.verbose else logging.WARNING if self.quiet else logging.INFO)
        logger.setLevel(min(handler.level, logging.INFO))  # what is not shown is still kept with an attempt


def _terminal_handler() -> logging.Handler:
    from rich.console import Console

    from xtlray.cli.live import TerminalHandler

    return TerminalHandler(Console(stderr=True, highlight=False))


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        record.message = f"xtlray: {level}{record.getMessage()}"
        return scrub(record.message + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""))


def _set(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """An option's callback that keeps its value, if it was given, in the `Context`: the innermost level wins."""

    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(Context), attribute, value)

    return callback


def _common_options() -> list[click.Option]:
    formats = click.Choice(["table", "csv", "json", "md"])
    return [
        click.Option(
            ["--store"],
            metavar="URL",
            expose_value=False,
            callback=_set("store_url"),
            help="A folder or s3://bucket/prefix.  [env: XTLRAY_STORE; default: ./xtlray-store]",
        ),
        click.Option(
            ["--format"],
            type=formats,
            expose_value=False,
            callback=_set("format"),
            help="How results are printed.  [default: table]",
        ),
        click.Option(
            ["--json", "json_"],
            is_flag=True,
            flag_value="json",
            type=str,
            default=None,
            expose_value=False,
            callback=_set("format"),
            help="The same as --format json.",
        ),
        click.Option(
            ["--quiet", "-q"], is_flag=True, expose_value=False, callback=_set("quiet"), help="Warnings only."
        ),
        click.Option(
            ["--verbose", "-v"],
            is_flag=True,
            expose_value=False,
            callback=_set("verbose"),
            help="More of the log; tracebacks.",
        ),
    ]


class _Common(click.Command):
    """Adds the common options to a command; logging is set up when they have all been read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()

    def invoke(self, ctx: click.Context) -> Any:
        ctx.ensure_object(Context).configure_logging()
        return super().invoke(ctx)


class Command(_Common):
    """A command with the common options."""


class Group(_Common, click.Group):
    """A group with the common options; so are the commands and groups made from it."""

    command_class = Command
    group_class = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise unknown("command", name, self.list_commands(ctx), fix=f"see {ctx.command_path} --help")
        return super().resolve_command(ctx, args)


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """`click.command` with the common options."""
    return click.command(name, cls=Command, **attributes)


def group(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:
    """`click.group` with the common options; its `.command()` gives them to the commands under it."""
    return click.group(name, cls=Group, **attributes)
