"""A Ray cluster of several nodes on this machine, each node in processes of its own, as `ray start` makes them.

Cores are logical: trials that sleep need none. A node is ended by killing what carries its tag, no other Ray with it.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from xtlray.bench.processes import Process, kill_tagged, send, tagged, tagged_environment, wait_for
from xtlray.errors import RequestError, WorkError

HOST = "127.0.0.1"
OBJECT_STORE_BYTES = 200_000_000  # of each node: they share the memory of one machine
TRIES = 3  # to start a worker node
STARTED = "Ray runtime started."
PR_SET_PDEATHSIG = 1


class Node:
    """A node: `ray start --block` and all that it starts. Do not make one yourself: see `LocalCluster`."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.tag, self.log = uuid.uuid4().hex, log
        libc = ctypes.CDLL(None)
        with log.open("w") as out:
            self.popen = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment, **tagged_environment(self.tag)},
                start_new_session=True,  # Ray's own reaper kills its whole process group
                preexec_fn=partial(libc.prctl, PR_SET_PDEATHSIG, signal.SIGKILL),  # it does not outlive us
            )

    def await_start(self) -> None:
        """Wait until Ray says that it has started.

        Raises:
            WorkError: it ended, or did not say so in time.
        """
        try:
            wait_for(lambda: STARTED in self.log.read_text() or self.popen.poll() is not None, "a node of Ray")
        except WorkError as error:
            raise WorkError(error.what, got=self._last_words()) from error
        if self.popen.poll() is not None:
            raise WorkError("A node of Ray could not be started", got=self._last_words())

    def processes(self, part: str = "") -> list[Process]:
        """Its living processes whose name has that part."""
        return [process for process in tagged(self.tag) if part in process.name]

    def send(self, number: int) -> None:
        """A signal to every process of the node."""
        for process in self.processes():
            send(process, number)

    def kill(self) -> None:
        """SIGKILL to every process of the node."""
        self.popen.kill()
        self.popen.wait()
        kill_tagged(self.tag)

    def _last_words(self) -> str:
        return " ".join(self.log.read_text().split()[-60:])


class LocalCluster:
    """Nodes on this machine, of one Ray. A context manager: all that is left of them is killed at its end.

    Args:
        cores: logical cores of the head node, and of each worker node.
        warned: whether processes outlive a SIGTERM to the whole node, as `env --block-signal=TERM ray start` has it.

    Attributes:
        address: for `RAY_ADDRESS`.
        workers: the worker nodes that have not been killed by `lose`.
    """

    def __init__(self, cores: Sequence[int], *, warned: bool = False) -> None:
        if not sys.platform.startswith("linux"):
            raise RequestError("Nodes on one machine are found in Linux' /proc", got=sys.platform, allowed="Linux")
        self._cores, self._warned = tuple(cores), warned
        # A socket's path in it may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="xtlray-nodes-", dir="/tmp"))
        self._started = 0
        self._head: Node | None = None
        self.address = f"{HOST}:{_free_port()}"
        self.workers: list[Node] = []
        token = self._folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self._token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}

    def __enter__(self) -> LocalCluster:
        try:
            own = (f"--port={self.address.rpartition(':')[2]}", f"--ray-client-server-port={_free_port()}")
            self._head = self._start("--head", *own, cores=self._cores[0])
            self._head.await_start()
            for cores in self._cores[1:]:  # one by one: of two that start at once, one may wait half a minute in vain
                self.join(cores)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a driver needs in its environment to join."""
        return {"RAY_ADDRESS": self.address, "RAY_USAGE_STATS_ENABLED": "0", **self._token}

    @property
    def head(self) -> Node:
        """The node with Ray's own server."""
        assert self._head is not None, "the cluster has been entered"
        return self._head

    @property
    def nodes(self) -> list[Node]:
        """Those that have not been killed by `lose`."""
        return [*([self._head] if self._head else []), *self.workers]

    def join(self, cores: int, tries: int = TRIES) -> Node:
        """Another worker node, once it has started. Ray gives it half a minute, which may not do on a busy machine."""
        node = self._start(f"--address={self.address}", cores=cores)
        self.workers.append(node)
        try:
            node.await_start()
        except WorkError:
            if tries == 1:
                raise
            self.lose(node)
            return self.join(cores, tries - 1)
        return node

    def lose(self, node: Node) -> None:
        """SIGKILL to every process of a worker node."""
        self.workers.remove(node)
        node.kill()

    def close(self) -> None:
        """Kill what is left, and remove its files."""
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *words: str, cores: int) -> Node:
        self._started += 1
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", **self._token}
        command = [
            *(["env", "--block-signal=TERM"] if self._warned else []),
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words),
            *(f"--node-ip-address={HOST}", f"--num-cpus={cores}", "--num-gpus=0"),
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),  # free ones
            *(["--include-dashboard=false", f"--temp-dir={self._folder}"] if "--head" in words else []),
        ]
        return Node(command, environment, self._folder / f"node-{self._started}.log")


def _free_port() -> int:
    """One that nobody has now. Ray's own begin at 10002 and end at 19999; the system gives out higher ones."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
