"""Fixtures of the tests that kill: start a program, and leave none behind."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Program
from xtlray.store import Store

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path, store: Store) -> Iterator[Start]:
    """Starts `xtlray --store … --json ARGUMENTS…` on the test's store. Whatever is left of it afterwards is killed."""
    if not sys.platform.startswith("linux"):
        pytest.skip("finds the processes to kill in Linux' /proc")
    programs: list[Program] = []

    def begin(*arguments: str) -> Program:
        programs.append(Program(["--json", "--store", store.url, *arguments], tmp_path))
        return programs[-1]

    yield begin
    for program in programs:
        with contextlib.suppress(ProcessLookupError):
            program.kill_all()


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], str]:
    """Writes a job file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return str(path)

    return write
