"""A small Jobs API in a thread, obedient until a test tells it not to be: jobs, archives, logs over a web socket.

It runs nothing: a job is what a test makes of it. Its answers have the form of Ray's dashboard.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from aiohttp import web

PAGE = "<!doctype html><html><body>Please log in</body></html>"


@dataclass
class Dashboard:
    """The server's state.

    Attributes:
        url: its address.
        token: what it asks for; None for nothing.
        ray_version: what it says it runs.
        jobs: by id, as the Jobs API shows them.
        requests: what each post of a job held.
        packages: archives by name.
        log: what every job prints.
        cuts: of the next connections for a log, after how many characters each is cut.
        ends: what becomes of a job whose log was sent to its end: status and exit code.
        answers: to give instead of anything else, one per request: status, content type, text, location.
        lost: of the next posts of a job, whether each is dropped before (False) or after (True) it was done.
        rivals: jobs that somebody else submits right before the next posts.
        calls: method and path of each request.
    """

    url: str = ""
    token: str | None = None
    ray_version: str = metadata.version("ray")
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    packages: dict[str, bytes] = field(default_factory=dict)
    log: str = ""
    cuts: list[int] = field(default_factory=list)
    ends: tuple[str, int | None] = ("SUCCEEDED", 0)
    answers: list[tuple[int, str, str, str | None]] = field(default_factory=list)
    lost: list[bool] = field(default_factory=list)
    rivals: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, status: str = "RUNNING", exit_code: int | None = None, **metadata: str) -> None:
        """A job that somebody has submitted."""
        self.jobs[name] = {
            "type": "SUBMISSION",
            "submission_id": name,
            "status": status,
            "entrypoint": "echo",
            "message": f"Job is {status}.",
            "start_time": 1_700_000_000_000 + len(self.jobs),
            "end_time": None if status in ("PENDING", "RUNNING") else 1_700_000_060_000,
            "metadata": metadata,
            "runtime_env": {"env_vars": {"SOMEBODYS_PASSWORD": "hunter2-hunter2"}},
            "driver_exit_code": exit_code,
        }

    # --- requests ----------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.method, request.path))
        if self.answers:
            status, kind, text, location = self.answers.pop(0)
            return web.Response(
                status=status, content_type=kind, text=text, headers={"location": location} if location else None
            )
        if self.token is not None:
            sent = request.headers.get("authorization")
            if sent is None:
                return web.Response(status=401, text="Unauthorized: Missing authentication token")
            if sent != f"Bearer {self.token}":
                return web.Response(status=403, text="Forbidden: Invalid authentication token")
        match request.path.strip("/").split("/")[1:]:
            case ["version"]:
                return web.json_response({"version": "4", "ray_version": self.ray_version, "ray_commit": "c"})
            case ["packages", "gcs", name]:
                return await self._package(request, name)
            case ["jobs"] if request.method == "POST":
                return await self._post(request)
            case ["jobs"]:
                return web.json_response(list(self.jobs.values()))
            case ["jobs", name, *rest] if name in self.jobs:
                return await self._job(request, name, rest)
        return web.Response(status=404, text="it does not exist")

    async def _package(self, request: web.Request, name: str) -> web.Response:
        if request.method == "PUT":
            self.packages[name] = await request.read()
        return web.Response(status=200 if name in self.packages else 404)

    async def _post(self, request: web.Request) -> web.Response:
        asked = await request.json()
        lost = self.lost.pop(0) if self.lost else None
        if self.rivals:
            rival = self.rivals.pop(0)
            self.add(rival.pop("name"), **rival)
        name = asked["submission_id"]
        if lost is not False:
            if name in self.jobs:
                text = f"Traceback …\nValueError: Job with submission_id {name} already exists."
                return web.Response(status=500, text=text)
            self.requests.append(asked)
            self.add(name, "PENDING", **asked["metadata"])
            self.jobs[name]["entrypoint"] = asked["entrypoint"]
        if lost is not None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"job_id": name, "submission_id": name})

    async def _job(self, request: web.Request, name: str, rest: list[str]) -> web.StreamResponse:
        match rest:
            case []:
                return web.json_response(self.jobs[name])
            case ["stop"]:
                self.jobs[name] |= {"status": "STOPPED", "end_time": 1_700_000_060_000}
                return web.json_response({"stopped": True})
            case ["logs"]:
                return web.json_response({"logs": self.log})
            case ["logs", "tail"]:
                return await self._tail(request, name)
        return web.Response(status=404, text="it does not exist")

    async def _tail(self, request: web.Request, name: str) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else None
        for start in range(0, len(self.log[:cut]), 7):  # in pieces that end anywhere
            await socket.send_str(self.log[:cut][start : start + 7])
        if cut is not None:
            await asyncio.sleep(0.05)  # so that what was sent gets there
            assert request.transport is not None
            request.transport.abort()
        else:
            status, code = self.ends
            self.jobs[name] |= {"status": status, "driver_exit_code": code, "end_time": 1_700_000_060_000}
        return socket


@contextmanager
def serving() -> Iterator[Dashboard]:
    """A server at a free port of this machine."""
    dashboard, ready, done = Dashboard(), threading.Event(), threading.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", dashboard.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        dashboard.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        while not done.is_set():
            await asyncio.sleep(0.01)
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield dashboard
    finally:
        done.set()
        thread.join(10)
