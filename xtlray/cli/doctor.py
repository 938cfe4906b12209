"""`xtlray doctor`: what works on this machine, and how to mend what does not.

Each check looks at one thing and answers with one line. A `warning` costs speed or room, a `problem` stops work.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import click

from xtlray.cli.common import Context, command
from xtlray.errors import XtlrayError

log = logging.getLogger("xtlray.doctor")

GIB = 2**30
LEAST_MEMORY = 4 * GIB  # two workers with ElemNet, its optimizer and the OQMD fractions, and Ray
LEAST_DISK = 2 * GIB  # all published datasets as shards, a few hundred models
MATMUL_SIDE = 1024


@dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Attributes:
        check: what was looked at.
        status: `ok`, `warning` (works, but slowly or not for long) or `problem` (something essential does not work).
        found: what was seen.
        fix: how to mend it; None where there is nothing to mend.
    """

    check: str
    status: Literal["ok", "warning", "problem"]
    found: str
    fix: str | None = None


@command()
@click.option("--ray", "start_ray", is_flag=True, help="Also start a Ray, run a task in it and stop it (10 s).")
@click.pass_context
def doctor(ctx: click.Context, start_ray: bool) -> None:
    """What works here: Python, packages, cores, memory, GPU, bf16, Ray, its files, store, datasets.

    Exit code 1 if something essential does not work.
    """
    context: Context = ctx.obj
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": _python,
        "packages": _packages,
        "cores": _cores,
        "memory": _memory,
        "gpu": _gpu,
        "bf16": _bf16,
        "ray": partial(_ray, start_ray),
        "scratch": _scratch,
        "store": partial(_store, context),
        "datasets": partial(_datasets, context),
    }
    findings = [finding for name, check in checks.items() for finding in _run(name, check)]
    context.emit([asdict(finding) for finding in findings])
    if any(finding.status == "problem" for finding in findings):
        ctx.exit(1)


def _run(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # whatever is broken here is what this command is for
        log.debug("the check of %s failed", name, exc_info=True)
        if isinstance(error, XtlrayError):
            return [Finding(name, "problem", f"{error.what}: {error.got}" if error.got else error.what, error.fix)]
        first = (str(error).strip() or "no message").splitlines()[0]
        return [Finding(name, "problem", f"{type(error).__name__}: {first}", "xtlray doctor -v shows where")]


def _python() -> Iterator[Finding]:
    import xtlray
    from xtlray.provenance import commit

    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    yield Finding("xtlray", "ok", f"{xtlray.__version__}, " + (f"commit {commit()}" if commit() else "no git checkout"))


def _packages() -> Iterator[Finding]:
    """Every package that xtlray needs, against the range that it is known to work with."""
    from packaging.requirements import Requirement

    fix = "make setup, or pip install -c constraints.txt -e ."
    needed = [Requirement(text) for text in metadata.requires("xtlray") or []]
    needed = [item for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})]
    amiss = False
    for item in needed:
        try:
            version = metadata.version(item.name)
        except metadata.PackageNotFoundError:
            amiss = True
            yield Finding("packages", "problem", f"{item.name} is not installed", fix)
            continue
        if not item.specifier.contains(version, prereleases=True):
            amiss = True
            yield Finding("packages", "warning", f"{item.name} {version}, not within {item.specifier}", fix)
    if not amiss:
        shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ray", "numpy", "pymatgen"))
        yield Finding("packages", "ok", f"all {len(needed)} within their ranges ({shown})")


def _cores() -> Iterator[Finding]:
    from xtlray.provenance import cores, hardware

    quota = cpu_quota()
    if quota is not None and quota < cores():
        yield Finding(
            "cores",
            "warning",
            f"{hardware()}, of which a container's limit grants {quota:g}",
            f"export OMP_NUM_THREADS={max(1, int(quota))}",
        )
    else:
        yield Finding("cores", "ok", hardware())


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores that the control group (version 2 or 1) at `root` grants; None without a limit."""
    words = _text(root / "cpu.max").split()
    if not words:
        words = [_text(root / "cpu/cpu.cfs_quota_us"), _text(root / "cpu/cpu.cfs_period_us")]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None  # "max", "-1" or no control group
    return int(words[0]) / int(words[1])


def memory_limit(root: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that this process may still use: what the machine has free, or less by its control group."""
    lines = dict(line.split(":", 1) for line in _text(meminfo).splitlines() if ":" in line)
    free = [int(lines["MemAvailable"].split()[0]) * 1024] if "MemAvailable" in lines else []
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if _text(root / limit).isdecimal() and _text(root / used).isdecimal():
            free.append(int(_text(root / limit)) - int(_text(root / used)))
    return max(0, min(free)) if free else None


def _text(path: Path) -> str:
    """The file's text, empty where there is no such file."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _memory() -> Iterator[Finding]:
    free = memory_limit()
    if free is None:
        yield Finding("memory", "ok", "how much is free is not known on this system")
    elif free < LEAST_MEMORY:
        fix = "end other programs, or run jobs with --set workers=1"
        yield Finding("memory", "warning", f"{free / GIB:.1f} GiB free", fix)
    else:
        yield Finding("memory", "ok", f"{free / GIB:.1f} GiB free")


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(i)
            yield Finding("gpu", "ok", f"{device.name}, {device.total_memory / GIB:.0f} GiB")
    elif Path("/proc/driver/nvidia/version").exists():
        yield Finding(
            "gpu",
            "warning",
            f"there is one, but torch {torch.__version__} cannot use it",
            "install a CUDA build of torch",
        )
    else:
        yield Finding("gpu", "ok", "none: jobs run on the processor")


def _bf16() -> Iterator[Finding]:
    import torch

    from xtlray.training.precision import device_here, resolve_precision

    device = device_here()
    chosen = resolve_precision("auto", device)
    speed = {name: _teraflops(device, dtype) for name, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32))}
    found = f"jobs use {chosen}; products at {speed['bf16']:.2g} TFLOP/s in bf16, {speed['float32']:.2g} in float32"
    slower = chosen == "bf16" and speed["bf16"] < speed["float32"]
    fix = "other work may disturb the measurement; else set precision: float32" if slower else None
    yield Finding("bf16", "warning" if slower else "ok", found, fix)


def _teraflops(device: Any, dtype: Any) -> float:
    """The best of three matrix products, in 10¹² operations a second."""
    import torch

    a = torch.ones(MATMUL_SIDE, MATMUL_SIDE, device=device, dtype=dtype)
    seconds = []
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    return 2 * MATMUL_SIDE**3 / min(seconds[1:]) / 1e12


def _ray(start: bool) -> Iterator[Finding]:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    where = f"jobs join the one at RAY_ADDRESS={address}" if address else "jobs start one of their own"
    if not start:
        yield Finding("ray", "ok", f"{ray.__version__}, not started here (--ray tries that); {where}")
        return
    from xtlray.ray_session import RaySession

    started = time.perf_counter()
    with RaySession() as session, session():
        cpus = ray.cluster_resources().get("CPU", 0)
        ray.get(ray.remote(num_cpus=0)(_task).remote(), timeout=120)
    took = time.perf_counter() - started
    yield Finding("ray", "ok", f"{ray.__version__}: started and ran a task in {took:.0f} s; {cpus:g} CPUs; {where}")


def _task() -> int:
    return os.getpid()


def _scratch() -> Iterator[Finding]:
    """What Ray keeps on this machine, and whether its disk has room for it."""
    from xtlray import provenance, scratch

    left, share = scratch.contents(), scratch.fullness()
    dead = [each for each in left if each.is_dead]
    size, lost = (sum(each.bytes for each in some) / 1e6 for some in (left, dead))
    found = f"{size:.0f} MB of Ray's files in {provenance.scratch()}"
    if dead:
        found += f", {lost:.0f} MB of them left by dead processes, which the next run clears away"
    found += f"; the disk is {share:.0%} full"
    nearly = share >= scratch.NEARLY_FULL
    yield Finding("scratch", "warning" if nearly else "ok", found, scratch.FIX if nearly else None)


def _store(context: Context) -> Iterator[Finding]:
    """Whether the store keeps its one promise, create-once, and has room."""
    store = context.store
    key = f"doctor-{uuid.uuid4().hex}"
    try:
        created = store.create(key, b""), store.create(key, b"")
    finally:
        store.delete([key])
    where = store.url_of("").rstrip("/")
    if created != (True, False):
        fix = "use a store that honours If-None-Match, such as S3, GCS, Azure, Ceph or a folder"
        yield Finding("store", "problem", f"{where} lets a second writer overwrite", fix)
    elif store.local_path is None:
        yield Finding("store", "ok", f"{where} can be written to, once per key")
    else:
        free = shutil.disk_usage(store.local_path).free
        mend = "free some room, or choose another store" if free < LEAST_DISK else None
        found = f"{where} can be written to, once per key; {free / GIB:.0f} GiB free"
        yield Finding("store", "warning" if mend else "ok", found, mend)


def _datasets(context: Context) -> Iterator[Finding]:
    from xtlray import catalog
    from xtlray.data.dataset import known_datasets
    from xtlray.store import builtin

    shipped = known_datasets(builtin())
    stored = set(known_datasets(context.store)) - set(shipped)
    names = f"{len(catalog.datasets())} in the catalog, {len(shipped)} built in, {len(stored)} in the store"
    if shipped:
        yield Finding("datasets", "ok", names)
    else:
        yield Finding("datasets", "problem", f"{names}: the demo's are missing", "install xtlray again")
