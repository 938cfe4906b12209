"""Ray's session, with a module in Ray's place that prints as Ray does: at any time, and while it shuts down."""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fake_s3 import FakeS3
from xtlray import ray_session
from xtlray.errors import WorkError
from xtlray.ray_session import RaySession
from xtlray.termination import ended_by_sigterm


def test_what_ray_prints_until_it_is_shut_down_stays_off_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **_: print("started"),
        nodes=lambda: [],
        shutdown=lambda: print("held back"),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    with RaySession() as session:
        with session():
            print("a worker died")
        print("another worker died")
    print("a result")
    said = capsys.readouterr()
    assert said.out == "a result\n"
    assert said.err.splitlines() == ["started", "a worker died", "another worker died", "held back"]


class Recorded:
    """In the place of Ray: keeps what it is started with, and the environment of that moment."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.environment: dict[str, str] = {}

    def is_initialized(self) -> bool:
        return False

    def init(self, **arguments: Any) -> None:
        self.arguments, self.environment = arguments, dict(os.environ)

    def nodes(self) -> list[Any]:
        return []

    def shutdown(self) -> None:
        """Nothing to stop."""


@pytest.fixture
def ray(no_aws: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    no_aws.setitem(sys.modules, "ray", recorded)
    for name in [*ray_session.RAY_ENVIRONMENT, *ray_session.LOCAL_ENVIRONMENT, "RAY_ADDRESS"]:
        no_aws.setenv(name, "")  # so that it is put back, whoever sets it
        no_aws.delenv(name)
    for name, value in FakeS3(url="http://h").environment.items():
        no_aws.setenv(name, value)
    return recorded


OFF = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}


def test_what_rays_s3_client_needs_is_set_before_ray_starts(ray: Recorded) -> None:
    with RaySession() as session, session():
        assert OFF.items() <= ray.environment.items()
    assert "runtime_env" not in ray.arguments  # its processes have this environment, as children


def test_on_a_cluster_it_is_set_on_every_node_and_no_key_travels(ray: Recorded, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    no_aws.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_supported")  # what the user has set goes along
    with RaySession() as session, session():
        assert ray.arguments["runtime_env"] == {
            "env_vars": {**OFF, "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_supported"}
        }


def test_sigterm_stays_ours_when_ray_starts(ray: Recorded, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setattr(ray, "init", lambda **_: signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number)))
    with ended_by_sigterm(), RaySession() as session, session(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_why_ray_did_not_start_is_said_without_secrets(ray: Recorded, no_aws: pytest.MonkeyPatch) -> None:
    def fails(**_: Any) -> None:
        raise ConnectionError(f"with {os.environ['AWS_SECRET_ACCESS_KEY']} in it")

    no_aws.setattr(ray, "init", fails)
    with RaySession() as session, pytest.raises(WorkError, match=r"with \*\*\* in it"), session():
        raise AssertionError


def test_stdout_is_given_back_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), RaySession():
        raise KeyError
    print("a result")
    assert capsys.readouterr().out == "a result\n"
