"""A real S3 server on loopback, Ceph's gateway, for tests: one per test session, its data in memory.

`../ceph_rgw.sh` fetches it once into the user's cache (Debian, root) and starts it. `XTLRAY_TEST_CEPH` may name a
folder that it was fetched into already. The server goes when this process goes, in whatever way that happens.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve().parent.parent / "ceph_rgw.sh"
FETCHED = "XTLRAY_TEST_CEPH"
FETCH_SECONDS, START_SECONDS = 600, 120
PORTS = range(21000, 23000, 10)  # with the monitor's, 8820 above, neither Ray's nor those that the system gives out
ACCESS_KEY = "xtlray-tests"


class NoCephError(Exception):
    """It cannot be had here, with the reason."""


@dataclass(frozen=True)
class Ceph:
    """The running gateway.

    Attributes:
        url: its endpoint.
        data: its folder of logs and process ids.
        secret: the secret key, random and so a canary: whoever finds it in a file has found a leak.
    """

    url: str
    data: Path
    secret: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets, and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
        }

    def client(self, service: str = "s3") -> Any:
        """A boto3 client: a reader and writer that shares no code with ours."""
        import boto3
        from botocore.config import Config

        config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": self.secret}
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", config=config, **keys)

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def session(self) -> dict[str, str]:
        """Keys that hold for an hour, with their session token, as environment variables."""
        allowed = {"Effect": "Allow", "Action": ["sts:GetSessionToken", "s3:*"], "Resource": ["*"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self.client("iam").put_user_policy(UserName="xtlray", PolicyName="all", PolicyDocument=policy)
        keys = self.client("sts").get_session_token()["Credentials"]
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return {**self.environment, **{to: keys[name] for to, name in zip(variables, names, strict=True)}}

    def pid(self, daemon: str = "radosgw") -> int:
        """The process id of `mon`, `osd` or `radosgw`."""
        return int((self.data / "run" / f"{daemon}.pid").read_text())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The gateway answers nobody inside: its connections stay open and are silent."""
        os.kill(self.pid(), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid(), signal.SIGCONT)


def fetched() -> Path:
    """The folder that Ceph was fetched into. Raises `NoCephError`."""
    named = os.environ.get(FETCHED)
    if named:
        if not (Path(named) / "root" / "usr" / "bin" / "radosgw").exists():
            raise NoCephError(f"{FETCHED}={named} holds no root/usr/bin/radosgw")
        return Path(named)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xtlray-tests" / "ceph"
    command = ["bash", str(SCRIPT), "fetch", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoCephError(f"Ceph was not fetched in {FETCH_SECONDS} s") from None
    if done.returncode:
        raise NoCephError(f"Ceph cannot be fetched: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return folder


@contextmanager
def running(data: Path) -> Iterator[Ceph]:
    """A gateway of our own, which keeps its files in `data`. Raises `NoCephError` where it cannot be fetched."""
    folder, secret = fetched(), f"canary/{uuid.uuid4().hex}+{uuid.uuid4().hex}"
    process = subprocess.Popen(
        ["bash", str(SCRIPT), "serve", str(folder), str(data), str(_free_port())],
        stdin=subprocess.PIPE,  # it goes down when this is closed, and so when this process has gone
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CEPH_ACCESS_KEY": ACCESS_KEY, "CEPH_SECRET_KEY": secret},
        start_new_session=True,  # a Ctrl-C is not for it
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        assert url, f"Ceph did not start: {process.stderr.read()}"  # the script has its own time limits
        yield Ceph(url, data, secret)
    finally:
        process.stdin.close()
        process.wait(START_SECONDS)
        process.stdout.close()
        process.stderr.close()


def _free_port() -> int:
    """A port that is free for the gateway, with those that the monitor takes."""
    start = os.getpid() % len(PORTS)  # test runs at once begin at different ones
    for port in (*PORTS[start:], *PORTS[:start]):
        if all(_is_free(each) for each in (port, port + 8820, port + 8821)):
            return port
    raise NoCephError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
