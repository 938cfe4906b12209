"""Ray's files on this machine, in this user's scratch folder: how much, what of it is dead, how full the disk is.

Ray never clears up behind itself, and what a killed run leaves stays for ever; full disks are the commonest way in
which such runs die.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xtlray import provenance

log = logging.getLogger("xtlray.ray")
NEARLY_FULL, RAYS_LIMIT = 0.90, 0.95  # of a disk; beyond its limit Ray writes no more objects, and work fails
QUIET_S = 15 * 60.0  # a Ray that is alive writes into its logs every minute, whoever's processes we cannot see
NOTE_QUIET_S = 24 * 3600.0  # of what is written once
FIX = "free some room, or set TMPDIR to a short path on another disk"
_SESSION = re.compile(r"session_.*_(\d+)")  # as Ray names its folder; the number is the process that started it
_NOTE = re.compile(r"(?:train|metrics)-(\d+)[-.].*")  # ours, with the number of the process that it is of


@dataclass(frozen=True)
class Left:
    """Something in the scratch folder.

    Attributes:
        path: where; bytes: what it takes of the disk.
        alive: whether a process of this machine belongs to it.
        quiet_s: since when nothing has been written into it, in s.
    """

    path: Path
    bytes: int
    alive: bool
    quiet_s: float

    @property
    def is_session(self) -> bool:
        """Whether it is the folder of a Ray, with its logs and the objects that it has put aside on disk."""
        return bool(_SESSION.fullmatch(self.path.name))

    @property
    def is_dead(self) -> bool:
        """Whether nobody can miss it. What was just written to may be of a process that cannot be seen from here."""
        return not self.alive and self.quiet_s > (QUIET_S if self.is_session else NOTE_QUIET_S)


def own_name(kind: str, rest: str = "") -> str:
    """The name of something of this process' in the scratch folder: it can be told later that the process is gone."""
    return f"{kind}-{os.getpid()}{rest}"


def contents() -> list[Left]:
    """What lies in this user's scratch folder and belongs, or belonged, to some process; nothing if it is another's."""
    folder = provenance.scratch()
    if not hasattr(os, "getuid") or not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return []
    found, commands, now = [], _commands(), time.time()
    for path in sorted(folder.iterdir()):
        match = _SESSION.fullmatch(path.name) or _NOTE.fullmatch(path.name)
        if match and not path.is_symlink():
            alive = _runs(int(match[1])) or path.name.encode() in commands
            size, newest = _measure(path)
            found.append(Left(path, size, alive, now - newest))
    return found


def clear_dead() -> int:
    """Remove what is dead; returns how many bytes that freed."""
    dead = [left for left in contents() if left.is_dead]
    for left in dead:
        remove(left.path)
    freed = sum(left.bytes for left in dead)
    if dead:
        log.debug(
            "%.1f MB of %d earlier processes were cleared away in %s", freed / 1e6, len(dead), dead[0].path.parent
        )
    return freed


def keep_private() -> None:
    """Let nobody but this user into the scratch folder: Ray opens it to all users of the machine, to write there too.

    What a rescued training left lies in it, and in Ray's logs there may be anything.
    """
    with suppress(OSError):  # there is none, it is another's, or its disk knows no users
        provenance.scratch().chmod(0o700)


def remove(path: Path) -> None:
    """Remove a file or a folder; what is gone already, or another's, is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def size_of(path: Path) -> int:
    """Bytes of the disk that a file or folder takes."""
    return _measure(path)[0]


def fullness(folder: Path | None = None) -> float:
    """The share of the disk that Ray counts as full under `folder`, by default the scratch folder: 0 … 1."""
    usage = shutil.disk_usage(_existing(folder or provenance.scratch()))
    return 1 - usage.free / usage.total if usage.total else 0.0


class DiskWatch:
    """Warns when the disk of the scratch folder is nearly full, and again when it is too full for Ray; once each."""

    def __init__(self) -> None:
        self._said = 0.0

    def look(self) -> float | None:
        """How full the disk is, 0 … 1; None where that cannot be known."""
        try:
            share = fullness()
        except OSError:
            return None
        reached = max((limit for limit in (NEARLY_FULL, RAYS_LIMIT) if share >= limit), default=0.0)
        if reached > self._said:
            self._said = reached
            log.warning(
                "the disk under %s is %.0f %% full: from %.0f %% on Ray writes no more objects and work fails; %s",
                *(provenance.scratch(), 100 * share, 100 * RAYS_LIMIT, FIX),
            )
        return share


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def _measure(path: Path) -> tuple[int, float]:
    """Bytes on disk, and when something in it was last written (Unix, s)."""
    size, newest = 0, 0.0
    for each in _walk(path):
        with suppress(OSError):  # it is gone meanwhile
            status = each.lstat()
            size += getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
            newest = max(newest, status.st_mtime)
    return size, newest


def _walk(path: Path) -> Iterator[Path]:
    yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)


def _runs(process: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def _commands() -> bytes:
    """The command lines of all processes, for Ray's name the folder of their session; empty where there is no /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(path.read_bytes())
    return b"\n".join(found)
