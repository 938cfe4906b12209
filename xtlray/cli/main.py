"""The `xtlray` command: which commands there are, and what becomes of their errors.

Commands are imported when they are called, so that `xtlray --help` imports neither torch nor Ray. Every way out of
the program is here: 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted, 143 ended by SIGTERM.
"""

from __future__ import annotations

import importlib
import io
import os
import select
import signal
import sys
import traceback
from typing import TextIO

import click

import xtlray
from xtlray.cli.common import Context, Group
from xtlray.errors import RequestError, XtlrayError
from xtlray.scrub import scrub
from xtlray.termination import ended_by_sigterm, terminated

# name → (module:attribute, what it does)
COMMANDS = {
    "data": ("xtlray.cli.data:data", "Datasets: list, show, fetch, ingest."),
    "run": ("xtlray.cli.run:run", "Run a job file."),
    "pretrain": ("xtlray.cli.run:pretrain", "Pretrain a source network, without a job file."),
    "transfer": ("xtlray.cli.run:transfer", "Carry source networks over to small targets, without a job file."),
    "submit": ("xtlray.cli.submit:submit", "Send a job file to a cluster, where it runs."),
    "jobs": ("xtlray.cli.jobs:jobs", "What a cluster was sent: list, show, logs, stop."),
    "status": ("xtlray.cli.status:status", "What runs now, how far it is, what failed, how long it will take."),
    "leaderboard": ("xtlray.cli.leaderboard:leaderboard", "Which method won on which target, by how much."),
    "models": ("xtlray.cli.models:models", "Published models: list, search, show, promote, copy, delete, verify."),
    "predict": ("xtlray.cli.predict:predict", "Predict a property for formulas of your own."),
    "store": ("xtlray.cli.store:store", "The store: check whether it can be relied on, gc."),
    "doctor": ("xtlray.cli.doctor:doctor", "What works here, and how to mend what does not."),
}


class LazyGroup(Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in COMMANDS.items()])


@click.group("xtlray", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(xtlray.__version__, message="xtlray %(version)s")
def cli() -> None:
    """Pretrain on a big materials database, transfer to hundreds of small properties, keep the models.

    Results are printed on stdout, progress and logs on stderr. Exit code 0: done, 1: the work failed, 2: the
    request was wrong.
    """


@ended_by_sigterm()
def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code. A command that ends without an exception is done."""
    context = Context()
    try:
        with cli.make_context("xtlray", list(sys.argv[1:] if arguments is None else arguments), obj=context) as ctx:
            cli.invoke(ctx)
        sys.stdout.flush()  # here, where a reader that has gone away is still handled
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if _reader_has_gone(error):
            return 0
        return _explain(error, context)


def _explain(error: BaseException, context: Context) -> int:
    """Say in one line what went wrong, and return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if context.verbose and not isinstance(error, (RequestError, click.ClickException, click.Abort)):
        # Of failed work and of our own faults; a wrong request has none.
        click.echo(scrub("".join(traceback.format_exception(error))), err=True, nl=False)
    if terminated():  # whatever it came out as
        click.echo("terminated", err=True)
        return 128 + signal.SIGTERM
    if isinstance(error, XtlrayError):
        click.echo(f"error: {scrub(str(error))}", err=True)
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.ClickException):
        click.echo(f"error: {error.format_message()}{_where_to_look(error)}", err=True)
        return 2
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        click.echo("interrupted", err=True)
        return 130
    hint = "" if context.verbose else "; run with -v for the traceback"
    first = (str(error).strip() or "no message").splitlines()[0]
    click.echo(f"internal error: {type(error).__name__}: {scrub(first)}{hint}", err=True)
    return 1


def _where_to_look(error: click.ClickException) -> str:
    path = getattr(getattr(error, "ctx", None), "command_path", None)
    return f" See {path} --help." if path else ""


def _reader_has_gone(error: BaseException) -> bool:
    """Whether the error is that nobody reads our stdout any more (`xtlray … | head`), and nothing is wrong with us."""
    if not isinstance(error, BrokenPipeError) or not _is_broken(sys.stdout):
        return False  # a broken connection of the work itself is an error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains while it shuts down
    return True


def _is_broken(pipe: TextIO) -> bool:
    """Whether nobody reads it: it fails again if it holds something back; else (PYTHONUNBUFFERED) the system knows."""
    try:
        pipe.flush()
        poll = select.poll()
        poll.register(pipe.fileno(), 0)  # nothing but what is wrong with it
        return bool(poll.poll(0))
    except BrokenPipeError:
        return True
    except io.UnsupportedOperation:  # no file lies under it
        return False


if __name__ == "__main__":
    sys.exit(main())
