"""What must hold of the Slurm script whether or not there is a Slurm to run it; test_slurm.py runs it on one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def script(repo_root: Path) -> Path:
    return repo_root / "cluster" / "slurm" / "xtlray.sbatch"


@pytest.fixture
def code(script: Path) -> str:
    """Its commands, without comments."""
    return re.sub(r"^\s*#.*$|  # .*$", "", script.read_text(), flags=re.MULTILINE)


def test_bash_can_read_it(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_queues_options_stand_where_slurm_reads_them(script: Path) -> None:
    lines = script.read_text().splitlines()
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    options = [line.removeprefix("#SBATCH ") for line in lines[:first_command] if line.startswith("#SBATCH ")]
    assert not [line for line in lines[first_command:] if line.startswith("#SBATCH")]
    assert {"--requeue", "--open-mode=append", "--no-kill", "--ntasks-per-node=1"} <= set(options)
    notice = next(option for option in options if option.startswith("--signal="))
    seconds = re.fullmatch(r"--signal=B:USR1@(\d+)", notice)
    grace = re.search(r"XTLRAY_GRACE:-(\d+)", script.read_text())
    assert seconds
    assert grace
    assert int(seconds[1]) >= int(grace[1]) + 30  # time is left to end Ray and to ask for another turn


def test_without_a_job_it_says_how(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, cwd=tmp_path, env={"PATH": "/bin"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: sbatch" in done.stderr


@pytest.mark.parametrize("word", ["ray stop", "symmetric-run", "pkill", "killall", "kill -9 -1", "kill -KILL -1"])
def test_it_ends_nothing_that_is_not_its_own(code: str, word: str) -> None:
    assert word not in code


def test_its_ray_has_a_token_a_folder_and_ports_of_its_own(code: str) -> None:
    assert "RAY_AUTH_MODE=token" in code
    assert "unset RAY_ADDRESS RAY_AUTH_TOKEN" in code
    assert '--temp-dir="$folder/ray"' in code
    assert "$SLURM_JOB_ID" in re.search(r"^folder=.*$", code, flags=re.MULTILINE)[0]  # type: ignore[index]
    for option in ("--port=", "--dashboard-port=", "--ray-client-server-port=", "--dashboard-agent-listen-port=",
                   "--min-worker-port=", "--max-worker-port="):  # fmt: skip
        assert option in code
    assert not re.search(r"\b(6379|8265|10001|52365)\b", code)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_MEM_PER_NODE": "32768"}, "8 32768"),
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_MEM_PER_CPU": "2000"}, "8 16000"),  # sbatch --mem-per-cpu
        ({"SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_NODE": "0"}, "4 0"),  # all that the machine has
        ({"SLURM_CPUS_ON_NODE": "4"}, "4 0"),
    ],
)
def test_ray_has_the_share_of_a_machine_that_the_queue_gives(
    given: dict[str, str], expected: str, script: Path
) -> None:
    lines = [line for line in script.read_text().splitlines() if line.startswith(("cpus=", "memory="))]
    command = "\n".join(["set -eu", *lines, 'echo "$cpus $memory"'])
    done = subprocess.run(["bash", "-c", command], env={"PATH": "/bin", **given}, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


def test_a_scratch_folder_that_a_machine_lacks_is_told_of(script: Path, tmp_path: Path) -> None:
    function = re.search(r"^make_folder\(\) \{.*?^\}$", script.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert function
    command = f"{function[0]}\nmake_folder"

    def made(folder: Path) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "folder": str(folder)}
        return subprocess.run(["bash", "-euc", command], env=environment, input="t", capture_output=True, text=True)

    lacking = made(tmp_path / "scratch" / "xtlray-1-0")
    assert lacking.returncode == 1
    assert "cannot be made" in lacking.stderr
    assert "XTLRAY_SCRATCH" in lacking.stderr
    (tmp_path / "link").symlink_to(tmp_path)
    assert made(tmp_path / "link").returncode == 1
    assert made(tmp_path / "xtlray-1-0").returncode == 0
    assert (tmp_path / "xtlray-1-0" / "token").read_text() == "t"
