"""What is worth keeping of Ray's logs: the ends of those of actors that died, before their folder goes."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtlray.scrub import scrub

log = logging.getLogger("xtlray.ray")
MOST_ACTORS, TAIL_BYTES, TAIL_LINES = 6, 32_000, 300
SEARCHED_BYTES = 1_000_000  # of a log most of whose lines are not kept
SECONDS = 20.0  # for all logs of other nodes together
REQUEST_S = 5  # for one of them
_INTENDED = ("INTENDED_USER_EXIT", "INTENDED_SYSTEM_EXIT")  # of a process that was asked to end


@dataclass(frozen=True)
class Actor:
    """An actor that is dead.

    Attributes:
        id, name, node: as Ray has them; `pid` of its process.
        ended: when (Unix, ms).
        why: Ray's words for it.
        unexpected: whether it died of something else than being told to end.
    """

    id: str
    name: str
    node: str
    pid: int
    ended: int
    why: str
    unexpected: bool


def of_the_dead(session: Path | None, failed: bool) -> dict[str, bytes]:
    """The ends of the logs of actors that died unexpectedly; where the work has `failed`, of the latest dead as well.

    Secrets are hidden in them. Ray must be up; what it does not answer is left out.

    Args:
        session: the folder of the Ray on this machine.
        failed: whether the work that used it has failed.

    Returns:
        Text by file name, no more than a few hundred kB; empty where nothing died.
    """
    try:
        dead = dead_actors()
    except Exception as error:  # Ray itself may be what has died
        log.debug("which actors died is not known: %s", error)
        dead = []
    chosen = [actor for actor in dead if failed or actor.unexpected]
    chosen = sorted(chosen, key=lambda actor: (not actor.unexpected, -actor.ended))[:MOST_ACTORS]
    found = {}
    end = time.monotonic() + SECONDS
    for actor in chosen:
        for kind in ("err", "out"):
            text = _tail_here(session, actor, kind)
            if text is None and time.monotonic() < end:
                text = _tail_elsewhere(actor, kind)
            if text and text.strip():
                found[f"{actor.name}-{actor.pid}-{actor.id[:8]}.{kind}.txt"] = text
    if chosen:
        found["deaths.txt"] = "".join(f"{actor.name} (process {actor.pid}): {actor.why}\n" for actor in chosen)
    if session is not None and (failed or chosen):
        for name in ("raylet.out", "raylet.err"):  # says who was killed for want of memory or disk
            text = tail(session / "logs" / name, without="[state-dump]")
            if text:
                found[f"{name}.txt"] = text
    return {name: scrub(text).encode() for name, text in found.items()}


def dead_actors() -> list[Actor]:
    """All actors of this job that are dead."""
    import ray
    from ray._private.state import actors  # the public way asks the dashboard, which a Ray of our own has not

    job = ray.get_runtime_context().get_job_id()
    return [_actor(each) for each in actors(actor_state_name="DEAD").values() if each["JobID"] == job]


def _actor(each: dict[str, Any]) -> Actor:
    cause = each["DeathCause"]
    kind = cause.WhichOneof("context")
    why = str(getattr(getattr(cause, kind), "error_message", "")) if kind else ""
    unexpected = kind is not None
    if kind == "actor_died_error_context":
        context = cause.actor_died_error_context
        reason = type(context).Reason.Name(context.reason)
        asked = any(word in why for word in _INTENDED)
        unexpected = reason == "NODE_DIED" or (reason in ("WORKER_DIED", "UNSPECIFIED") and not asked)
        why = why or reason
    name = each["ActorClassName"].rsplit(".", 1)[-1] or "actor"
    node = each["Address"]["NodeID"]
    return Actor(each["ActorID"], name, node, each["Pid"], each["EndTime"], " ".join(why.split()), unexpected)


def _tail_here(session: Path | None, actor: Actor, kind: str) -> str | None:
    """None where it was on another node."""
    import ray

    if session is None or actor.node != ray.get_runtime_context().get_node_id():
        return None
    files = sorted((session / "logs").glob(f"worker-*-{actor.pid}.{kind}"), key=lambda file: -file.stat().st_mtime)
    return (tail(files[0]) if files else None) or ""


def _tail_elsewhere(actor: Actor, kind: str) -> str | None:
    """By the dashboard of the cluster. None where it does not answer in time."""
    import ray
    from ray.util.state import get_log

    found: list[str] = []
    # Without an address, Ray looks for one among all that run on this machine.
    how = {"address": ray.get_runtime_context().gcs_address, "tail": TAIL_LINES, "timeout": REQUEST_S}

    def ask() -> None:
        with suppress(Exception):  # the node may be gone, and its log with it
            found.extend(get_log(actor_id=actor.id, suffix=kind, errors="replace", **how))

    asking = threading.Thread(target=ask, daemon=True)  # Ray's own request has no end where nobody answers
    asking.start()
    asking.join(REQUEST_S)
    return _end("".join(found)) if found else None


def tail(file: Path, without: str | None = None) -> str | None:
    """The last lines of a file that do not hold `without`, `TAIL_BYTES` at most; None where it cannot be read."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - (SEARCHED_BYTES if without else TAIL_BYTES)))
            cut = opened.tell() > 0
            data = opened.read()
    except OSError:
        return None
    if cut:
        data = data.partition(b"\n")[2] or data  # no half line at its beginning
    text = data.decode(errors="replace")
    if without:
        text = "".join(line for line in text.splitlines(keepends=True) if without not in line)
    return _end(text)


def _end(text: str) -> str:
    """The last lines, no half one at their beginning: half a secret could not be told from any other word."""
    end = text[-TAIL_BYTES:]
    return end if len(end) == len(text) else end.partition("\n")[2] or end
