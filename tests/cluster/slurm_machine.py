"""A real Slurm on this machine for tests: a controller, two nodes of one core each, and munge, all of our own.

Nothing of the machine's own Slurm, if it has one, is used but its programs: the configuration, sockets, ports, keys and
folders are those of the test. Fetches Debian's `slurm-wlm` where it is missing and can be (Debian, root).
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.ports import free_ports
from tests.faults.harness import wait_for

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "scancel", "squeue")
FETCH_SECONDS = 600
TRIES = 5  # of a question to a busy server
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"  # daemons lie where not every shell looks
GRACE = 90  # seconds from the notice to the end, for what is preempted

CONFIGURATION = """
ClusterName=xtlray-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5
ReturnToService=2
FirstJobId={first}
MinJobAge=86400
KillWait=10
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs=1 RealMemory=4000
PartitionName=low Nodes=n[1-2] Default=YES State=UP MaxTime=INFINITE PriorityTier=1 GraceTime={grace}
PartitionName=high Nodes=n[1-2] State=UP MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


class NoSlurmError(Exception):
    """It cannot be had here, with the reason."""


@dataclass(frozen=True)
class Slurm:
    """The running Slurm.

    Attributes:
        folder: of its configuration and logs.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its commands need."""
        return {"PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *words: str, cwd: Path | None = None, **environment: str) -> str:
        """Run one of its commands, and return what it printed.

        A question is asked again whose connection the server has closed while it was being written: once in some
        hundred times it does so on a busy machine, and the command dies of it.
        """
        for _ in range(TRIES if words[0] == "scontrol" else 1):
            done = subprocess.run(
                words, capture_output=True, text=True, cwd=cwd, env={**os.environ, **self.environment, **environment}
            )
            if done.returncode != -signal.SIGPIPE:
                break
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode} {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def submit(self, *words: str, cwd: Path, **environment: str) -> str:
        """`sbatch` with these words; returns the job's number."""
        return self.ask("sbatch", "--parsable", *words, cwd=cwd, **environment)

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says of it."""
        said = self.ask("scontrol", "--oneliner", "show", "job", number)
        return dict(pair.split("=", 1) for pair in said.split() if "=" in pair)

    def state(self, number: str) -> str:
        return self.job(number)["JobState"]


@contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """A Slurm of our own in `folder`, ready for jobs. Raises `NoSlurmError` where it cannot be fetched."""
    fetch()
    slurm = Slurm(folder)
    _configure(folder)
    daemons: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *words: str) -> None:
        log = (folder / f"{name}.out").open("wb")
        daemons.append(
            subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **slurm.environment},
                start_new_session=True,  # a Ctrl-C is not for it
            )
        )  # fmt: skip
        log.close()

    try:
        begin("munged", "munged", "--foreground", "--force", f"--socket={folder}/munge.socket",
              f"--key-file={folder}/munge.key", f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munge.seed",
              f"--log-file={folder}/munged.log")  # fmt: skip
        wait_for((folder / "munge.socket").exists, "munge", 30)
        begin("slurmctld", "slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        for node in ("n1", "n2"):
            begin(node, "slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", node)
        wait_for(lambda: _ready(slurm), f"two idle nodes; logs are in {folder}", 60)
        yield slurm
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _ready(slurm: Slurm) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%t"],
        capture_output=True, text=True, env={**os.environ, **slurm.environment},
    )  # fmt: skip
    return done.stdout.split() == ["idle", "idle"]


def _configure(folder: Path) -> None:
    folder.chmod(0o755)
    for name in ("state", "n1", "n2"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
    port = free_ports(3)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=host, user=user, folder=folder, port=port, first_port=port + 1, last_port=port + 2, grace=GRACE,
            first=random.randrange(1000, 100_000, 100),  # jobs' folders are called after their numbers
        )
    )  # fmt: skip


def fetch() -> None:
    """Install Debian's Slurm where it is missing. Raises `NoSlurmError` where that cannot be done."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if not missing:
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise NoSlurmError(f"{missing[0]} is missing, and only root on Debian can fetch it: apt-get install slurm-wlm")
    for words in (["update"], ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]):
        try:
            done = subprocess.run(
                ["apt-get", "-qq", "-o", "Acquire::Retries=1", "-o", "DPkg::Lock::Timeout=60", *words],
                capture_output=True, text=True, timeout=FETCH_SECONDS,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise NoSlurmError(f"apt-get {words[0]} took more than {FETCH_SECONDS} s") from None
        if done.returncode:
            raise NoSlurmError(f"apt-get {words[0]}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
