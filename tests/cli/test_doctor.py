"""`xtlray doctor`: what it measures, what it calls a problem, and that it leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xtlray import provenance, scratch
from xtlray.cli import doctor, main
from xtlray.cli.common import Context
from xtlray.cli.doctor import Finding, cpu_quota, memory_limit
from xtlray.errors import StoreError
from xtlray.store import Store


def only(check: Callable[[], Iterator[Finding]]) -> Finding:
    (finding,) = check()
    return finding


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == expected


def test_free_memory_is_the_lesser_of_machine_and_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16 kB\nMemAvailable:       8 kB\n")
    assert memory_limit(tmp_path, meminfo) == 8192
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    assert memory_limit(tmp_path, meminfo) == 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path, meminfo) == 8192
    assert memory_limit(tmp_path, tmp_path / "none") is None


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_limit", lambda: 2 * 2**30)
    assert only(doctor._memory) == Finding(
        "memory", "warning", "2.0 GiB free", "end other programs, or run jobs with --set workers=1"
    )


def test_a_package_outside_its_range_and_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["click>=99", "not-installed-anywhere>=1", "pytest>=1", "not-for-us; extra == 'dev'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: needed)
    findings = list(doctor._packages())
    assert [(f.status, f.found.split()[0]) for f in findings] == [
        ("warning", "click"),
        ("problem", "not-installed-anywhere"),
    ]


def test_what_ray_has_left_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "scratch", lambda: tmp_path)
    monkeypatch.setattr(scratch, "fullness", lambda: 0.5)
    assert only(doctor._scratch) == Finding("scratch", "ok", f"0 MB of Ray's files in {tmp_path}; the disk is 50% full")
    dead = scratch.Left(tmp_path / "session_x_1", 3_000_000, alive=False, quiet_s=1e6)
    alive = scratch.Left(tmp_path / "session_x_2", 1_000_000, alive=True, quiet_s=1e6)
    monkeypatch.setattr(scratch, "contents", lambda: [dead, alive])
    monkeypatch.setattr(scratch, "fullness", lambda: 0.93)
    assert only(doctor._scratch) == Finding(
        "scratch",
        "warning",
        f"4 MB of Ray's files in {tmp_path}, 3 MB of them left by dead processes, which the next run clears away; "
        "the disk is 93% full",
        scratch.FIX,
    )


def test_a_good_store_is_left_as_it_was(store: Store) -> None:
    context = Context()
    context.store_url = store.url
    found = only(lambda: doctor._store(context))
    assert found.status == "ok"
    assert found.found.startswith(f"{store.local_path} can be written to, once per key; ")
    assert store.children("") == []


def test_a_store_that_overwrites_is_a_problem(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    context.store_url = store.url
    monkeypatch.setattr(Store, "create", lambda *_: True)
    found = only(lambda: doctor._store(context))
    assert found.status == "problem"
    assert "lets a second writer overwrite" in found.found


def test_a_check_that_breaks_is_a_problem_and_not_a_crash() -> None:
    def refused() -> Iterator[Finding]:
        raise StoreError("The store could not write a key", got="no space left", fix="free some")
        yield

    def broken() -> Iterator[Finding]:
        raise OSError("libcudart.so: cannot open\nmore")
        yield

    assert doctor._run("store", refused) == [
        Finding("store", "problem", "The store could not write a key: no space left", "free some")
    ]
    assert doctor._run("gpu", broken)[0].found == "OSError: libcudart.so: cannot open"


def test_the_command_prints_json_and_its_exit_code_tells_of_problems(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {"_packages", "_gpu", "_bf16", "_ray", "_datasets"}  # these import torch and Ray
    for name in quick:
        monkeypatch.setattr(doctor, name, lambda *_, name=name: iter([Finding(name, "ok", "made up")]))
    assert main.main(["doctor", "--json", "--store", store.url]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert {"python", "xtlray", "cores", "memory", "scratch", "store"} | quick == {line["check"] for line in lines}
    assert all(set(line) == {"check", "status", "found", "fix"} for line in lines)

    monkeypatch.setattr(doctor, "_gpu", lambda: iter([Finding("gpu", "problem", "on fire", "water")]))
    assert main.main(["doctor", "--store", store.url]) == 1
    assert "on fire" in capsys.readouterr().out
