"""Fixtures that more than one folder of tests needs: a store, the real data, the checkout, one Ray for all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_s3 import FakeS3, serving
from xtlray.store import Store

if TYPE_CHECKING:
    from tests.fake_dashboard import Dashboard


@pytest.fixture
def repo_root() -> Path:
    """The checkout that the tests run in."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in a folder of its own."""
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def no_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is said about S3: no variable, no profile, no machine that gives out keys."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def fake_s3(no_aws: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """A small S3 server with an empty bucket `bucket`, and the environment that a user sets for it."""
    with serving() as fake:
        for name, value in fake.environment.items():
            no_aws.setenv(name, value)
        yield fake


@pytest.fixture
def s3(fake_s3: FakeS3) -> Store:
    """An empty store in that bucket. Its URL is its own, for patience is kept per URL."""
    return Store.open(f"s3://bucket/{uuid.uuid4().hex}")


@pytest.fixture
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is said about clusters and their tokens."""
    for name in [name for name in os.environ if name.startswith(("RAY_ADDRESS", "RAY_API_SERVER", "RAY_AUTH"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return monkeypatch


@pytest.fixture
def dashboard(no_cluster: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    """A small Jobs API, as a cluster has it."""
    from tests import fake_dashboard

    with fake_dashboard.serving() as served:
        yield served


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that `XTLRAY_TEST_DATA` names; the test is skipped where there is none."""
    named = os.environ.get("XTLRAY_TEST_DATA")
    if not named:
        pytest.skip("needs the real data: XTLRAY_TEST_DATA is not set")
    folder = Path(named)
    if not (folder / "oqmd").is_dir():
        pytest.skip(f"needs the real data: XTLRAY_TEST_DATA={named} has no folder oqmd")
    return folder


@pytest.fixture(scope="session")
def local_ray() -> Iterator[Any]:
    """A Ray of our own with two CPUs, shared by all tests marked `ray`, whatever `RAY_ADDRESS` says."""
    import ray

    os.environ.setdefault("RAY_metrics_report_interval_ms", "1000")  # by default 10 s, which a test would wait for
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()
