"""Which of Ray's logs are kept: the ends of those of the unexpectedly dead first, bounded, without secrets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.core.generated.common_pb2 import ActorDeathCause, ActorDiedErrorContext

from xtlray import ray_logs
from xtlray.ray_logs import MOST_ACTORS, TAIL_BYTES, Actor, of_the_dead, tail

HERE, THERE = "aa" * 14, "bb" * 14
CRASHED = "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2."


def actor(n: int, unexpected: bool = True, node: str = HERE, ended: int = 0) -> Actor:
    return Actor(f"{n:032x}", "TrialActor", node, 100 + n, ended or n, CRASHED, unexpected)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Ray on this machine."""
    (tmp_path / "logs").mkdir()
    context = SimpleNamespace(get_node_id=lambda: HERE, get_job_id=lambda: "01000000", gcs_address="10.0.0.1:6379")
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    return tmp_path


def write(session: Path, n: int, text: str, kind: str = "err") -> None:
    (session / "logs" / f"worker-{n:056x}-01000000-{100 + n}.{kind}").write_text(text)


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> list[Actor]:
    """The actors that Ray says are dead."""
    found: list[Actor] = []
    monkeypatch.setattr(ray_logs, "dead_actors", lambda: found)
    return found


def test_the_ends_of_the_logs_of_what_died(session: Path, dead: list[Actor], no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    dead += [actor(1), actor(2, unexpected=False)]
    write(session, 1, "Fatal: with very-secret in it\n")
    write(session, 1, " \n", "out")
    write(session, 2, "ended as it was told to\n")
    (session / "logs" / "raylet.out").write_text("killed for want of memory\n")
    found = of_the_dead(session, failed=False)
    assert set(found) == {"TrialActor-101-00000000.err.txt", "deaths.txt", "raylet.out.txt"}
    assert found["TrialActor-101-00000000.err.txt"] == b"Fatal: with *** in it\n"
    assert found["deaths.txt"].startswith(b"TrialActor (process 101): Worker exit type: SYSTEM_ERROR")


def test_where_the_work_failed_the_latest_dead_are_worth_a_look_too(session: Path, dead: list[Actor]) -> None:
    dead += [actor(n, unexpected=n == 3) for n in range(1, MOST_ACTORS + 4)]
    for n in range(1, MOST_ACTORS + 4):
        write(session, n, f"actor {n}\n")
    kept = [name for name in of_the_dead(session, failed=True) if name.endswith(".err.txt")]
    processes = [int(name.split("-")[1]) for name in kept]
    assert processes == [103, *range(100 + MOST_ACTORS + 3, 104, -1)][:MOST_ACTORS]


def test_where_nothing_died_nothing_is_kept(session: Path, dead: list[Actor]) -> None:
    dead.append(actor(1, unexpected=False))
    write(session, 1, "x")
    (session / "logs" / "raylet.out").write_text("x")
    assert of_the_dead(session, failed=False) == {}


def test_logs_of_other_nodes_are_asked_for(session: Path, dead: list[Actor], monkeypatch: pytest.MonkeyPatch) -> None:
    dead += [actor(1, node=THERE), actor(2, node=THERE)]
    asked: list[dict[str, Any]] = []

    def get_log(**how: Any) -> list[str]:
        asked.append(how)
        if how["actor_id"] == dead[1].id:
            raise ConnectionError("the node is gone")
        return ["a line\n", "another\n"]

    monkeypatch.setattr("ray.util.state.get_log", get_log)
    found = of_the_dead(session, failed=False)
    assert found["TrialActor-101-00000000.err.txt"] == b"a line\nanother\n"
    assert not [name for name in found if "102" in name]
    assert {how["suffix"] for how in asked} == {"err", "out"}
    assert {how["address"] for how in asked} == {"10.0.0.1:6379"}  # and of no other Ray on this machine


def test_where_a_log_of_another_node_is_cut_no_half_line_is_left(
    session: Path, dead: list[Actor], monkeypatch: pytest.MonkeyPatch, no_aws: pytest.MonkeyPatch
) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    dead.append(actor(1, node=THERE))
    lines = ["with very-secret\n", "x" * (TAIL_BYTES - 8) + "\n"]  # the cut goes through the secret
    monkeypatch.setattr("ray.util.state.get_log", lambda **_: lines)
    assert of_the_dead(session, failed=False)["TrialActor-101-00000000.err.txt"] == lines[1].encode()


def test_what_ray_does_not_know_is_left_out(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> list[Actor]:
        raise ConnectionError("Ray is gone")

    monkeypatch.setattr(ray_logs, "dead_actors", fails)
    (session / "logs" / "raylet.err").write_text("the raylet has died\n")
    assert of_the_dead(session, failed=True) == {"raylet.err.txt": b"the raylet has died\n"}
    assert of_the_dead(None, failed=True) == {}


@pytest.mark.parametrize(("reason", "text", "unexpected"), [
    ("WORKER_DIED", CRASHED, True),
    ("WORKER_DIED", "Worker exit type: INTENDED_USER_EXIT Worker exit detail: exit_actor", False),
    ("NODE_DIED", "its node has died", True),
    ("RAY_KILL", "killed by ray.kill", False),
    ("OUT_OF_SCOPE", "all handles are gone", False),
    ("REF_DELETED", "all handles are gone", False),
])  # fmt: skip
def test_what_died_unexpectedly(
    session: Path, monkeypatch: pytest.MonkeyPatch, reason: str, text: str, unexpected: bool
) -> None:
    context = ActorDiedErrorContext(error_message=text, reason=ActorDiedErrorContext.Reason.Value(reason))
    entry = {
        "ActorID": "cc" * 16,
        "ActorClassName": "with_resources.<locals>.TrialActor",
        "Address": {"NodeID": HERE},
        "Pid": 7,
        "EndTime": 5,
        "JobID": "01000000",
        "DeathCause": ActorDeathCause(actor_died_error_context=context),
    }
    other = {**entry, "JobID": "02000000"}
    monkeypatch.setattr("ray._private.state.actors", lambda actor_state_name: {"a": entry, "b": other})
    (found,) = ray_logs.dead_actors()
    assert (found.name, found.pid, found.unexpected, found.why) == ("TrialActor", 7, unexpected, text)


def test_a_tail_is_bounded_and_begins_with_a_whole_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("".join(f"line {n}\n" for n in range(20_000)))
    text = tail(file)
    assert text is not None
    assert TAIL_BYTES - 100 < len(text) <= TAIL_BYTES
    assert text.startswith("line ")
    assert text.endswith("line 19999\n")
    file.write_text("killed for want of memory\n" + "[state-dump] x\n" * 20_000)
    assert tail(file, without="[state-dump]") == "killed for want of memory\n"
    file.write_bytes(b"\xff" * (TAIL_BYTES + 5))
    assert tail(file)
    assert tail(tmp_path / "none") is None
