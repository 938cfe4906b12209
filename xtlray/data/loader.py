"""Which way in the rows of a pretraining take: all of them in memory, or a stream. Chosen by size, and said.

Available memory is what the operating system and the container's limit (cgroup) leave, whichever is less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Loader = Literal["auto", "resident", "streaming"]

# Measured on OQMD, per row of a dataset: the most that loading takes (decoding, joining several properties), some 250
# to 290 from half a million rows up. Most of it is free again afterwards.
LOADING_BYTES = 300
# For what else a worker does meanwhile: net, optimizer, gradients, activations.
HEADROOM_BYTES = 1 << 30


class Choice(NamedTuple):
    """The way in, and why, in words to print."""

    loader: Literal["resident", "streaming"]
    reason: str


def choose(rows: int, bytes_per_row: int, available: int | None, wanted: Loader, place: str = "memory") -> Choice:
    """Resident where the rows and some headroom fit, else streaming; what is asked for is done.

    Args:
        rows: training and validation rows, of all datasets.
        bytes_per_row: what a row takes at the peak.
        available: bytes that this worker may take; None where nobody knows.
        wanted: the job's setting.
        place: what `available` is of, for the reason: "memory", "GPU memory".
    """
    need = rows * bytes_per_row
    size = f"{rows:,} rows, {_megabytes(need)} to load"
    left = f"{_megabytes(available)} of {place}" if available is not None else f"an unknown amount of {place}"
    fits = available is None or need + HEADROOM_BYTES <= available
    found: Literal["resident", "streaming"] = "resident" if fits else "streaming"
    if wanted == "auto":
        spare = "" if fits else f", of which {_megabytes(HEADROOM_BYTES)} are kept for training"
        return Choice(found, f"{size}, {left} available{spare}: so {found}")
    warning = "; it may not fit" if wanted == "resident" and not fits else ""
    return Choice(wanted, f"{size}, {left} available: {wanted}, as the job says{warning}")


def compact_bytes(properties: int) -> int:
    """Bytes of a compact row: a byte and a float32 for each of 8 elements, a float32 for each property."""
    return 8 * 5 + 4 * properties


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that processes of this container may still take; None where the system does not say (not Linux)."""
    found = [_meminfo(root), *_cgroup_v2(root), *_cgroup_v1(root)]
    known = [value for value in found if value is not None]
    return max(0, min(known)) if known else None


def _meminfo(root: Path) -> int | None:
    for line in (_read(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_v2(root: Path) -> list[int]:
    """What each limit on the way from our cgroup up to the root leaves."""
    own = next((line[3:] for line in (_read(root / "proc/self/cgroup") or "").splitlines() if line[:3] == "0::"), "/")
    top = root / "sys/fs/cgroup"
    folder = top / own.strip().lstrip("/")
    return [
        left
        for place in (folder, *folder.parents)
        if place.is_relative_to(top)
        if (left := _left(place, "memory.max", "memory.current", "inactive_file")) is not None
    ]


def _cgroup_v1(root: Path) -> list[int]:
    place = root / "sys/fs/cgroup/memory"
    left = _left(place, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return [] if left is None else [left]


def _left(place: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    most, used = (_read(place / limit) or "").strip(), (_read(place / usage) or "").strip()
    if not most.isdecimal() or not used.isdecimal():  # no limit is "max", or no such file
        return None
    words = [line.split() for line in (_read(place / "memory.stat") or "").splitlines()]
    cache = next((int(count) for name, count in words if name == reclaimable), 0)  # files that the kernel can drop
    return int(most) - int(used) + cache


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
