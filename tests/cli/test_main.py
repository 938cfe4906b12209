"""The frame of the command line: options at every level, exit codes, one message per error, help that is quick."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from xtlray.cli import main as program
from xtlray.cli.common import Context, command, group
from xtlray.errors import RequestError, WorkError

SLOW = {"torch", "ray", "pymatgen", "matminer", "pandas", "numpy", "pyarrow", "sklearn", "obstore", "pydantic", "rich"}
Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`main` with made-up commands, reached by the same lazy table: `things list`, `fail` and `terminate`."""
    made_up = {name: (f"{__name__}:{name}", f"{name.title()}.") for name in ("things", "fail", "terminate")}
    monkeypatch.setattr(program, "COMMANDS", made_up)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    return lambda *words: program.main(list(words))


@group()
def things() -> None:
    """Things."""


@things.command("list")
@click.argument("names", nargs=-1)
@click.option("--count", type=int, default=1)
@click.pass_obj
def list_things(ctx: Context, names: tuple[str, ...], count: int) -> None:
    ctx.progress("working")
    ctx.emit([{"name": name, "mae": float("nan"), "count": count} for name in names or ("a",)], title="Things")


@things.command("where")
@click.pass_obj
def where(ctx: Context) -> None:
    ctx.emit({"store": ctx.store.url_of("x"), "quiet": ctx.quiet, "verbose": ctx.verbose})


FAILURES = {
    "request": RequestError("No such thing", got="'x'", fix="try y"),
    "work": WorkError("It broke"),
    "bug": ZeroDivisionError("division by zero\nsecond line"),
    "interrupt": KeyboardInterrupt(),
    "lost-connection": BrokenPipeError("peer went away"),
    "exit": click.exceptions.Exit(1),
}


@command()
@click.option("--as-error", is_flag=True)
def terminate(as_error: bool) -> None:
    """Gets SIGTERM, and may make another error of it."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        if as_error:
            raise WorkError("The workers are gone") from None
        raise


@command()
@click.argument("how")
def fail(how: str) -> None:
    raise FAILURES[how]


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "--json things list",
        "things --json list",
        "things list --json",
        "--format json things list",
        "--format csv things list --json",
        "things list a --format=json",
        "--json things list --count 1 a",
    ],
)
def test_json_at_any_level_is_one_array_with_null(run: Run, capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert run(*words.split()) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == [{"name": "a", "mae": None, "count": 1}]
    assert "NaN" not in said.out
    assert said.err == "working\n"


@pytest.mark.parametrize("words", ["-q things list", "things --quiet list", "things list -q"])
def test_quiet_at_any_level_leaves_the_result_alone(run: Run, capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert run(*words.split()) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("Things\n")


def test_store_at_any_level_and_the_innermost_wins(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, inner = str(tmp_path / "outer"), str(tmp_path / "inner")
    monkeypatch.setenv("XTLRAY_STORE", str(tmp_path / "environment"))
    for words, expected in (
        (("things", "where"), str(tmp_path / "environment")),
        (("--store", outer, "things", "where"), outer),
        (("--store", outer, "things", "where", "--store", inner), inner),
        (("things", "--store", inner, "-v", "where"), inner),
    ):
        assert run("--json", *words) == 0
        assert json.loads(capsys.readouterr().out)["store"] == f"{expected}/x"


def test_every_real_command_takes_the_common_options() -> None:
    ctx = click.Context(program.cli)
    options = {option for parameter in program.cli.get_params(ctx) for option in parameter.opts}
    assert {"--store", "--json", "--format", "--quiet", "-q", "--verbose", "-v", "--help", "-h", "--version"} <= options


# --- errors and exit codes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("fail request", 2, "error: No such thing. Got: 'x'. To mend it: try y.\n"),
        ("-v fail request", 2, "error: No such thing. Got: 'x'. To mend it: try y.\n"),
        ("fail work", 1, "error: It broke.\n"),
        ("fail interrupt", 130, "interrupted\n"),
        ("terminate", 143, "terminated\n"),
        ("terminate --as-error", 143, "terminated\n"),
        ("fail exit", 1, ""),
        (
            "fail bug",
            1,
            "internal error: ZeroDivisionError: division by zero; run with -v for the traceback\n",
        ),
        (
            "fail lost-connection",
            1,
            "internal error: BrokenPipeError: peer went away; run with -v for the traceback\n",
        ),
        (
            "thing list",
            2,
            "error: There is no command of that name. Got: 'thing'. Allowed: nearest known name is things. "
            "To mend it: see xtlray --help.\n",
        ),
        (
            "things lst",
            2,
            "error: There is no command of that name. Got: 'lst'. Allowed: nearest known name is list. "
            "To mend it: see xtlray things --help.\n",
        ),
    ],
)
def test_exit_code_and_message(
    run: Run, capsys: pytest.CaptureFixture[str], words: str, code: int, message: str
) -> None:
    assert run(*words.split()) == code
    said = capsys.readouterr()
    assert said.err == message
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("things list --jsn", ["No such option '--jsn'", "--json", "See xtlray things list --help."]),
        ("things list --format xml", ["--format", "'xml' is not one of 'table', 'csv', 'json'"]),
        ("things list --count many", ["--count", "'many' is not a valid integer"]),
        ("fail", ["Missing argument 'HOW'", "See xtlray fail --help."]),
    ],
)
def test_wrong_usage_is_one_line(run: Run, capsys: pytest.CaptureFixture[str], words: str, parts: list[str]) -> None:
    assert run(*words.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert [part for part in parts if part not in said] == []


@pytest.mark.parametrize("how", ["bug", "work"])
def test_verbose_adds_the_traceback_of_failed_work(run: Run, capsys: pytest.CaptureFixture[str], how: str) -> None:
    assert run("fail", how, "-v") == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):")
    assert said.splitlines()[-1] in ("error: It broke.", "internal error: ZeroDivisionError: division by zero")


# --- the program itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_is_quick_and_imports_no_big_library(words: list[str]) -> None:
    code = (
        "import sys; from xtlray.cli.main import main; code = main(sys.argv[1:]);"
        f"print('loaded:', sorted(set(sys.modules) & set({sorted(SLOW)!r}))); sys.exit(code)"
    )
    seconds = []
    for _ in range(3):  # the best of three: other work on the machine is not ours to measure
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
        seconds.append(time.perf_counter() - started)
    assert "loaded: []" in done.stdout
    assert min(seconds) < 0.5
    assert done.returncode == (0 if words else 2)


def test_import_xtlray_is_quick_and_imports_no_big_library() -> None:
    code = f"import sys, xtlray; print(sorted(set(sys.modules) & set({sorted(SLOW)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in ("data", "run", "pretrain", "transfer", "submit", "jobs", "leaderboard", "models", "predict", "doctor"):
        assert f"\n  {name} " in said


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['t'] = t = type(sys)('t')\n"
        "from xtlray.cli import main as program\nfrom xtlray.cli.common import command, Context\nimport click\n"
        "@command()\n@click.pass_obj\ndef many(ctx): ctx.emit([{'n': n} for n in range(100_000)])\n"
        "t.many = many; program.COMMANDS['many'] = ('t:many', 'Many.')\n"
        "sys.exit(program.main(['many', '--json']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_error(unbuffered: str) -> None:
    """As in `xtlray … | head`, in a container too, where Python often keeps nothing back."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "xtlray.cli.main", "--help"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
