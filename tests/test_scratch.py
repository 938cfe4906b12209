"""What Ray leaves on a machine: what is alive is never touched, what is dead goes, and a full disk is said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from xtlray import provenance, scratch

Usage = namedtuple("Usage", "total used free")
HOUR = 3600.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scratch folder of this test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(provenance, "scratch", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def session(home: Path, process: int, hours: float) -> Path:
    """A session of a Ray that a process started, last written to some hours ago; with a spilled object of 1 MB."""
    folder = home / f"session_2026-01-02_03-04-05_678901_{process}"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "raylet.out").write_text("started\n")
    (folder / "spilled").write_bytes(b"x" * 1_000_000)
    age(folder, hours)
    return folder


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * HOUR
    for each in [path, *path.rglob("*")]:
        os.utime(each, (then, then))


def test_a_dead_session_goes_and_is_counted(home: Path, gone: int) -> None:
    dead = session(home, gone, hours=1)
    (left,) = scratch.contents()
    assert (left.path, left.alive, left.is_dead) == (dead, False, True)
    assert 1_000_000 <= left.bytes < 1_200_000
    assert scratch.clear_dead() == left.bytes
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("hours", [1, 1000])
def test_one_whose_driver_is_alive_stays_however_quiet(home: Path, hours: float) -> None:
    folder = session(home, os.getpid(), hours)
    assert scratch.clear_dead() == 0
    assert folder.exists()


@pytest.fixture
def raylet(home: Path, gone: int) -> Iterator[Path]:
    """An old session whose driver is dead and that a process still names, as a raylet does; the session's folder."""
    folder = session(home, gone, hours=5)
    process = subprocess.Popen([sys.executable, "-c", "input()", f"--session={folder}"], stdin=subprocess.PIPE)
    yield folder
    process.communicate(b"\n")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_one_that_a_process_still_names_stays(raylet: Path) -> None:
    assert scratch.clear_dead() == 0
    assert raylet.exists()


def test_one_that_was_just_written_to_stays_whoever_writes(home: Path, gone: int) -> None:
    folder = session(home, gone, hours=0.1)
    old = folder / "logs" / "raylet.out"
    os.utime(old, (1, 1))  # one old file does not make it old
    assert scratch.clear_dead() == 0
    assert folder.exists()


@pytest.mark.parametrize(("name", "hours", "goes"), [
    ("train-{}-abc", 25, True),
    ("metrics-{}.json", 25, True),
    ("train-{}-abc", 2, False),
    ("rescued", 1000, False),
    ("session_latest", 1000, False),
    ("somebody-elses", 1000, False),
])  # fmt: skip
def test_only_what_is_known_goes(home: Path, gone: int, name: str, hours: float, goes: bool) -> None:
    path = home / name.format(gone)
    path.write_text("x")
    age(path, hours)
    scratch.clear_dead()
    assert path.exists() is not goes


def test_what_a_link_points_to_stays(home: Path, tmp_path: Path, gone: int) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    link = home / f"session_2026-01-02_03-04-05_678901_{gone}"
    link.symlink_to(elsewhere)
    assert scratch.contents() == []
    scratch.remove(link)
    assert not link.is_symlink()
    assert (elsewhere / "kept").exists()


def test_a_folder_of_another_user_is_left_alone(home: Path, gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = session(home, gone, hours=100)
    monkeypatch.setattr(os, "getuid", lambda: home.stat().st_uid + 1)
    assert scratch.clear_dead() == 0
    assert folder.exists()


def test_without_a_scratch_folder_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "scratch", lambda: tmp_path / "none" / "yet")
    assert scratch.contents() == []
    assert 0 < scratch.fullness() < 1


def test_own_names_are_known_as_ours(home: Path) -> None:
    for name in (scratch.own_name("train", "-abc"), scratch.own_name("metrics", ".json")):
        (home / name).write_text("x")
    assert [left.alive for left in scratch.contents()] == [True, True]


def test_the_disk_is_as_full_as_ray_counts_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 5 of 100 are kept for root: they are neither used nor free.
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: Usage(total=100, used=85, free=10))
    assert scratch.fullness() == pytest.approx(0.9)


def test_a_disk_that_fills_is_said_once_for_each_limit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([50, 9, 8, 9, 4, 3, 50, 4])
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: Usage(100, 0, next(free)))
    said: list[str] = []
    monkeypatch.setattr(scratch.log, "warning", lambda text, *values: said.append(text % values))
    watch = scratch.DiskWatch()
    seen = [watch.look() for _ in range(8)]
    assert seen[0] == 0.5
    assert len(said) == 2
    assert f"the disk under {home} is 91 % full: from 95 % on Ray writes no more objects" in said[0]
    assert "96 % full" in said[1]
