"""Fixtures of the tests that kill: start a program, and leave none behind."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import ceph as ceph_server
from tests.faults.harness import Program
from xtlray.bench.local_cluster import LocalCluster
from xtlray.store import Store

Start = Callable[..., Program]


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ceph_server.Ceph]:
    """A real S3 server for all tests of a session; they are skipped, saying why, where it cannot be had."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(ceph_server.running(tmp_path_factory.mktemp("ceph")))
        except ceph_server.NoCephError as error:
            pytest.skip(f"needs Ceph's S3 gateway: {error}")
        yield server


@pytest.fixture
def s3_store(ceph: ceph_server.Ceph, no_aws: pytest.MonkeyPatch) -> Store:
    """An empty store in a new bucket of the real S3 server, with the environment that a user sets for it."""
    for name, value in ceph.environment.items():
        no_aws.setenv(name, value)
    return Store.open(f"s3://{ceph.bucket()}/a/prefix")


@pytest.fixture
def start(tmp_path: Path, store: Store) -> Iterator[Start]:
    """Starts `xtlray --store … --json ARGUMENTS…` on the test's store, with `cluster=` on that one.

    Whatever is left of it afterwards is killed.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("finds the processes to kill in Linux' /proc")
    programs: list[Program] = []

    def begin(*arguments: str, cluster: LocalCluster | None = None) -> Program:
        environment = cluster.environment if cluster else None
        programs.append(Program(["--json", "--store", store.url, *arguments], tmp_path, environment))
        return programs[-1]

    yield begin
    for program in programs:
        with contextlib.suppress(ProcessLookupError):
            program.kill_all()


@pytest.fixture
def nodes() -> Iterator[LocalCluster]:
    """Three nodes of Ray on this machine, a logical core each."""
    with three_nodes() as cluster:
        yield cluster


def three_nodes(*, warned: bool = False) -> LocalCluster:
    """The same, to be entered; `warned` as of `LocalCluster`."""
    if not sys.platform.startswith("linux"):
        pytest.skip("finds the processes to kill in Linux' /proc")
    return LocalCluster([1, 1, 1], warned=warned)


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], str]:
    """Writes a job file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return str(path)

    return write
