"""What made a result: commit, library versions, hardware. Cheap to ask, imports none of what it reports on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import xtlray

COMMIT_VARIABLE = "XTLRAY_COMMIT"  # set where code has travelled without its checkout, by whoever sent it
PACKAGES = ("torch", "ray", "numpy", "scikit-learn", "pymatgen", "pyarrow", "safetensors", "skops")


@cache
def commit() -> str | None:
    """The commit of the checkout that this package runs or was sent from, `-dirty` if it has changes; else None."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return os.environ.get(COMMIT_VARIABLE) or None
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):  # no git, or not ours to ask: not known
        return None
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version(), "xtlray": xtlray.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cluster_grows() -> bool:
    """Whether the cluster that this process belongs to gets machines as work asks for them, as its files say.

    Ray itself does not tell: what there is now says nothing about what there can be.
    """
    return os.environ.get("XTLRAY_CLUSTER_GROWS", "") not in ("", "0")


@cache
def hardware() -> str:
    """Processor and number of cores, in words."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux: the platform's own word will do
        name = name or "unknown processor"
    return f"{name}, {cores()} cores"


def environment() -> dict[str, Any]:
    """All of it, as it is kept with each attempt."""
    return {
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
        "platform": platform.platform(),
        "executable": Path(sys.executable).name,
    }


def machine() -> dict[str, Any]:
    """What is kept of the machine with a model, beside its processor: nothing that names it."""
    return {"platform": platform.platform(), "cores": cores()}


def scratch() -> Path:
    """This user's folder on this machine for what need not last. Short, for a socket's path has 107 characters."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"xtlray-{user}"
