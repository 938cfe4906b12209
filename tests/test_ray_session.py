"""Ray's session, with a module in Ray's place that prints as Ray does: at any time, and while it shuts down."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.runtime_env.runtime_env import _merge_runtime_env  # what Ray joins the two with

from tests.fake_s3 import FakeS3
from xtlray import provenance, ray_logs, ray_session
from xtlray.errors import RequestError, WorkError
from xtlray.ray_session import RaySession
from xtlray.termination import ended_by_sigterm


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scratch folder of this test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(provenance, "scratch", lambda: folder)
    return folder


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

    job_config = SimpleNamespace(JobConfig=lambda metadata: metadata)

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.environment: dict[str, str] = {}

    def is_initialized(self) -> bool:
        return False

    def init(self, **arguments: Any) -> Any:
        self.arguments, self.environment = arguments, dict(os.environ)
        folder = Path(arguments.get("_temp_dir", "/tmp/ray")) / "session_2026-01-02_03-04-05_678901_1"
        if "_temp_dir" in arguments:
            folder.parent.chmod(0o777)
            (folder / "logs").mkdir(parents=True)
            (folder / "logs" / "raylet.out").write_text("x" * 1000)
        return SimpleNamespace(address_info={"session_dir": str(folder)})

    def nodes(self) -> list[Any]:
        return [{"NodeManagerAddress": "10.0.0.1", "MetricsExportPort": 8080}]

    def shutdown(self) -> None:
        """Nothing to stop."""


@pytest.fixture
def ray(no_aws: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    no_aws.setitem(sys.modules, "ray", recorded)
    set_by_us = [ray_session.RAY_ENVIRONMENT, ray_session.LOCAL_ENVIRONMENT, ray_session.CLUSTER_ENVIRONMENT]
    for name in [*(name for some in set_by_us for name in some), "RAY_ADDRESS"]:
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


def test_what_a_submitted_job_has_been_given_is_not_set_twice(ray: Recorded, no_aws: pytest.MonkeyPatch) -> None:
    given = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported", "XTLRAY_STORE": "s3://b"}
    no_aws.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    no_aws.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"env_vars": given}, "metadata": {}}))
    with RaySession() as session, session():
        assert set(ray.arguments["runtime_env"]["env_vars"]) == {"AWS_RESPONSE_CHECKSUM_VALIDATION"}
        assert _merge_runtime_env({"env_vars": given}, ray.arguments["runtime_env"]) is not None
    no_aws.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"env_vars": None}}))
    with RaySession() as session, session():
        assert ray.arguments["runtime_env"]["env_vars"] == OFF


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


# --- what it leaves --------------------------------------------------------------------------------------------------


def test_ray_calls_the_work_by_the_run(ray: Recorded) -> None:
    with RaySession("oqmd-1a2b3c4d") as session, session():
        assert ray.arguments["job_config"] == {"xtlray_run": "oqmd-1a2b3c4d"}


def test_the_logs_of_a_ray_of_our_own_are_bounded(ray: Recorded) -> None:
    with RaySession() as session, session():
        assert int(ray.environment["RAY_ROTATION_MAX_BYTES"]) <= 2**25
        assert ray.environment["RAY_ROTATION_BACKUP_COUNT"] == "1"


def test_no_other_user_gets_at_the_files_of_a_ray_of_our_own(ray: Recorded, scratch: Path) -> None:
    with RaySession() as session, session():
        assert scratch.stat().st_mode & 0o777 == 0o700


def test_while_it_is_up_prometheus_finds_it_and_afterwards_nothing_is_left(ray: Recorded, scratch: Path) -> None:
    with RaySession() as session:
        assert list(scratch.iterdir()) == []  # it starts late
        with session():
            (targets,) = scratch.glob("metrics-*.json")
            assert json.loads(targets.read_text()) == [{"labels": {"job": "ray"}, "targets": ["10.0.0.1:8080"]}]
            assert list(scratch.glob("session_*"))
    assert list(scratch.iterdir()) == []


def test_where_the_work_failed_rays_logs_stay_and_where_is_said_with_v(
    ray: Recorded, scratch: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("xtlray"), "propagate", True)
    caplog.set_level(logging.DEBUG, "xtlray.ray")
    with pytest.raises(WorkError), RaySession() as session, session():
        raise WorkError("diverged")
    (folder,) = scratch.iterdir()
    assert folder.name.startswith("session_")
    assert str(folder) in caplog.messages[-1]


def test_the_files_of_a_ray_that_was_joined_are_not_ours(
    ray: Recorded, no_aws: pytest.MonkeyPatch, scratch: Path
) -> None:
    no_aws.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    removed: list[Path] = []
    no_aws.setattr("xtlray.scratch.shutil.rmtree", lambda path, **_: removed.append(path))
    with RaySession() as session, session():
        assert list(scratch.iterdir()) == []
    assert removed == []


@pytest.mark.parametrize(("error", "failed"), [
    (WorkError("x"), True),
    (RequestError("x"), False),
    (KeyboardInterrupt(), False),
    (None, False),
])  # fmt: skip
def test_logs_are_asked_for_before_ray_goes_and_only_what_there_is_is_kept(
    ray: Recorded, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, failed: bool
) -> None:
    order: list[Any] = []
    monkeypatch.setattr(ray, "shutdown", lambda: order.append("shutdown"))

    def of_the_dead(session: Path | None, failed: bool) -> dict[str, bytes]:
        order.append(failed)
        return {"a.txt": b"x"} if failed else {}

    monkeypatch.setattr(ray_logs, "of_the_dead", of_the_dead)

    def work() -> None:
        with RaySession(keep_logs=order.append) as session, session():
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    assert order == [failed, *([{"a.txt": b"x"}] if failed else []), "shutdown"]


def test_logs_that_cannot_be_kept_hide_nothing(ray: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> dict[str, bytes]:
        raise RuntimeError("Ray is gone")

    monkeypatch.setattr(ray_logs, "of_the_dead", fails)
    with pytest.raises(WorkError, match="diverged"), RaySession(keep_logs=print) as session, session():
        raise WorkError("diverged")


def test_after_sigterm_ray_is_asked_for_no_logs_for_it_may_be_gone(ray: Recorded, no_aws: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    no_aws.setattr(ray_logs, "of_the_dead", lambda session, failed: asked.append(failed) or {})

    def work() -> None:
        with RaySession(keep_logs=lambda logs: None) as session, session():
            os.kill(os.getpid(), signal.SIGTERM)

    with ended_by_sigterm(), pytest.raises(KeyboardInterrupt):
        work()
    assert asked == []
