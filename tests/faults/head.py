"""A real head of a Ray cluster on this machine: with a token, without xtlray, on ports of its own; and a way that cuts.

Its nodes have all that xtlray needs and not xtlray itself, as a cluster that has never seen it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.harness import TAG, kill, tagged, wait_for
from xtlray.submit.jobs import Jobs

CHECKOUT = Path(__file__).resolve().parents[2]
# Takes what an installation for developers has added to Python's path out again.
WITHOUT_XTLRAY = f"""
import os, sys
sys.path[:] = [each for each in sys.path if os.path.realpath(each or ".") != {str(CHECKOUT)!r}]
sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in getattr(each, "__module__", "")]
"""


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        url: of its dashboard.
        token: its file.
        environment: of its processes.
    """

    url: str
    token: Path
    environment: dict[str, str]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def jobs(self) -> Jobs:
        """Its jobs; needs the token in the environment."""
        return Jobs.at(self.url)


@contextlib.contextmanager
def running() -> Iterator[Head]:
    """A head with two CPUs; all of its processes are gone afterwards."""
    folder, tag = Path(tempfile.mkdtemp(prefix="xtlray-head-")), uuid.uuid4().hex  # short: for the paths of sockets
    (folder / "token").write_text(uuid.uuid4().hex * 2)
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(WITHOUT_XTLRAY)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "XTLRAY_", "AWS_"))
    }
    environment |= {
        TAG: tag,
        "OMP_NUM_THREADS": "1",
        "SPT_NOENV": "1",
        "PYTHONPATH": str(folder / "site"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    ports = free_ports(6)
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    names += ("metrics-export-port", "ray-client-server-port")
    words = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    words += ["--head", "--block", f"--temp-dir={folder / 'ray'}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    words += ["--dashboard-host=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0"]
    words += ["--object-store-memory=150000000", "--disable-usage-stats"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    head = Head(f"http://127.0.0.1:{ports[1]}", folder / "token", environment)
    try:
        wait_for(lambda: _answers(head, process), f"Ray's dashboard; see {folder / 'log'}")
        yield head
    finally:
        process.kill()  # asked to end, Ray takes its time
        wait_for(lambda: not [kill(each) for each in tagged(tag)], "the end of Ray's processes", 60)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(head: Head, process: subprocess.Popen[bytes]) -> bool:
    """Whether it takes jobs: its dashboard is up before what runs them."""
    import urllib.error
    import urllib.request

    assert process.poll() is None, (head.token.parent / "log").read_text()
    asked = urllib.request.Request(
        f"{head.url}/api/jobs/", headers={"Authorization": f"Bearer {head.token.read_text()}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


# --- a way to it that can be cut -------------------------------------------------------------------------------------


class Way:
    """Passes connections on to a port of this machine, until they are cut.

    Attributes:
        url: to reach the other end by.
        on_answer: called instead of passing on the answer to the post of a job.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = ""
        self.on_answer: Callable[[], None] | None = None
        self.open: list[socket.socket] = []

    def cut(self) -> None:
        """End all connections, as a network does that goes away."""
        while self.open:
            with contextlib.suppress(OSError):
                self.open.pop().shutdown(socket.SHUT_RDWR)

    def pass_on(self, near: socket.socket) -> None:
        """One connection, until either end has had enough."""
        with near, socket.create_connection(("127.0.0.1", self.port)) as far:
            self.open += [near, far]
            posts = threading.Event()
            back = threading.Thread(target=self._pump, args=(far, near, posts, True), daemon=True)
            back.start()
            self._pump(near, far, posts, False)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, posts: threading.Event, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not is_answer and data.startswith(b"POST /api/jobs/ "):
                    posts.set()
                if is_answer and posts.is_set() and self.on_answer is not None:
                    self.on_answer()
                    break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def way_to(port: int) -> Iterator[Way]:
    """A `Way`, open inside."""
    way = Way(port)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                way.pass_on(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        way.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield way
        finally:
            way.cut()
            server.shutdown()
            thread.join()
