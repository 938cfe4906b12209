"""Processes are found by their tags, whoever their parent is by then, and no others are."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from xtlray.bench.processes import TAG, kill_tagged, tagged, tagged_environment, wait_for
from xtlray.errors import WorkError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux' /proc")


def start(tag: str, command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", command], env={**os.environ, **tagged_environment(tag)})


def test_orphans_are_found_and_killed_others_are_not() -> None:
    one, other = uuid.uuid4().hex, uuid.uuid4().hex
    start(one, "sleep 61 & exit").wait()  # its child is nobody's
    start(other, "sleep 62 & exit").wait()
    try:
        assert [process.name for process in tagged(one)] == ["sleep 61"]
        kill_tagged(one)
        assert tagged(one) == []
        assert [process.name for process in tagged(other)] == ["sleep 62"]
    finally:
        kill_tagged(other)


def test_who_started_the_one_that_started_them_finds_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = uuid.uuid4().hex, uuid.uuid4().hex
    monkeypatch.setenv(TAG, outer)
    process = start(inner, "exec sleep 63")
    try:
        wait_for(lambda: [each.name for each in tagged(inner)] == ["sleep 63"], "its start", 5)
        assert [each.pid for each in tagged(outer)] == [process.pid]
        assert tagged(inner[:-1]) == []
    finally:
        process.kill()
        process.wait()


def test_what_does_not_come_is_said() -> None:
    with pytest.raises(WorkError, match="in vain for the end of the world"):
        wait_for(lambda: False, "the end of the world", 0.05)
