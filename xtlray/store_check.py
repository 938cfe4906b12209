"""Whether a store keeps what the project relies on: everything is tried, on a scratch prefix that is removed again.

Object stores that call themselves compatible differ where it hurts: some take `If-None-Match` and ignore it, so that
of two writers the later one wins, unnoticed. A check says what was seen, and what to set or to use instead.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

from xtlray.errors import MissingKeyError, StoreError, XtlrayError
from xtlray.refusals import UNKNOWN, in_short
from xtlray.scrub import scrub
from xtlray.store import Store

PREFIX = "store-check-"  # of scratch folders, at the top of a store
WRITERS, RACES = 8, 5
LARGE = 64 * 2**20
COMMITS = 3  # of each of two writers

_ONCE = (
    "use a store that honours If-None-Match, such as Amazon S3, Google Cloud Storage, Azure, Ceph or a folder, or see "
    "whether a newer release of this one does; with this one two writers destroy each other's work"
)
_CONSISTENT = "use a store that lists what was written at once (strongly consistent); a cache before it may be why"
_RANGES = "use a store that honours Range; see whether a proxy before it drops that header"
_LARGE = (
    "raise the largest request that the server, or a proxy before it, takes (such as client_max_body_size in nginx)"
)
_ARROW = "check AWS_ENDPOINT_URL, AWS_REGION and the keys; Ray reads and writes by this client"
_DELTA = "check AWS_ENDPOINT_URL, AWS_REGION and the keys; the leaderboard's tables are kept by this client"


@dataclass(frozen=True)
class Finding:
    """What came of a check.

    Attributes:
        check: its name.
        ok: whether the store does what is needed.
        seconds: how long it took.
        found: what was seen.
        fix: what to set or to use; None where all is well.
    """

    check: str
    ok: bool
    seconds: float
    found: str
    fix: str | None = None


class _Failed(Exception):
    """The store does not do what is needed. The text says what it did."""


class _Scratch:
    """A folder of its own for a check, and what was written there: a store that forgets to list is cleaned up too."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, folder
        self.written: list[str] = []

    def create(self, name: str, data: bytes) -> bool:
        self.written.append(f"{self.folder}/{name}")
        return self.store.create(f"{self.folder}/{name}", data)

    def get(self, name: str) -> bytes:
        return self.store.get(f"{self.folder}/{name}")

    def list(self, after: str | None = None) -> list[str]:
        """The names in it."""
        found = self.store.list(self.folder, after and f"{self.folder}/{after}")
        return [key.removeprefix(f"{self.folder}/") for key in found]


def check_store(store: Store) -> Iterator[Finding]:
    """Try everything on `store`, one finding after the other; what was written is deleted again, in any case.

    Where the store cannot be reached or written to, or not cleaned up, nothing else is tried.
    """
    place = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    for name, (check, fix) in _CHECKS.items():
        scratch = _Scratch(store, f"{place}/{name.replace(' ', '-')}")
        try:
            finding = _run(name, check, fix, scratch)
        finally:
            left = _clean(scratch, place)
        yield finding
        if not finding.ok and name in _FIRST:
            return
        if left:
            yield left
            return


def _run(name: str, check: Callable[[_Scratch], str], fix: str, scratch: _Scratch) -> Finding:
    started = time.perf_counter()
    mend: str | None = None
    try:
        found, ok = check(scratch), True
    except _Failed as failed:
        found, ok, mend = str(failed), False, fix
    except XtlrayError as error:
        found, ok = f"{error.what}: {error.got}" if error.got else error.what, False
        mend = fix if error.fix in (None, UNKNOWN) else error.fix
    except Exception as error:  # of pyarrow or delta-rs: whatever they say is the finding
        found, ok, mend = in_short(error), False, fix
    return Finding(name, ok, round(time.perf_counter() - started, 3), scrub(found), mend)


def _clean(scratch: _Scratch, place: str) -> Finding | None:
    """Delete what a check wrote; a finding where that cannot be done."""
    started = time.perf_counter()
    try:
        if scratch.written:
            scratch.store.delete(dict.fromkeys(scratch.written))
            scratch.store.delete_folder(place)
    except StoreError as error:
        fix = f"let the keys delete; then delete what lies under {place}, or run xtlray store gc"
        return Finding("clean up", False, round(time.perf_counter() - started, 3), f"{error.what}: {error.got}", fix)
    return None


# --- the checks: each takes a scratch folder and says what it saw ----------------------------------------------------


def _reach(scratch: _Scratch) -> str:
    if scratch.list():
        raise _Failed("a new folder is not empty")
    return f"{scratch.store.where} answers"


def _write(scratch: _Scratch) -> str:
    name, data = "a key with spaces & ü", os.urandom(1000)
    if not scratch.create(name, data):
        raise _Failed("a new key is said to be there already")
    key = f"{scratch.folder}/{name}"
    if not scratch.store.exists(key) or scratch.store.size(key) != len(data) or scratch.get(name) != data:
        raise _Failed("what was written is not what is read")
    return "written, found and read again"


def _once(scratch: _Scratch) -> str:
    first, second = scratch.create("key", b"first"), scratch.create("key", b"second")
    kept = scratch.get("key")
    if first and second and kept == b"second":
        raise _Failed("a second create overwrote the first: the store ignores If-None-Match")
    if (first, second, kept) != (True, False, b"first"):
        raise _Failed(f"creates said {first} and {second}, and {kept.decode(errors='replace')!r} is there")
    return "a second create is refused, and changes nothing"


def _race(scratch: _Scratch) -> str:
    """Writers that start at the same moment, each with other bytes; large enough that the requests overlap."""
    datas = [bytes([i]) * 100_000 for i in range(WRITERS)]
    for race in range(RACES):
        gate = Barrier(WRITERS)

        def write(data: bytes, name: str = str(race), gate: Barrier = gate) -> bool:
            gate.wait(60)
            return scratch.create(name, data)

        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(write, datas))
        if won.count(True) != 1:
            raise _Failed(f"of {WRITERS} writers at once {won.count(True)} were told that they had created the key")
        if scratch.get(str(race)) != datas[won.index(True)]:
            raise _Failed(f"of {WRITERS} writers at once one was told that it had won, and another's bytes are there")
    return f"{RACES} times {WRITERS} writers at once: one won, and its bytes are there"


def _list(scratch: _Scratch) -> str:
    names = [f"{folder}/{i}" for folder in ("a", "b") for i in range(10)]
    for written, name in enumerate(names, start=1):
        scratch.create(name, b"x")
        if scratch.list() != names[:written]:
            raise _Failed("a key that was just written is not listed")
    if scratch.store.children(scratch.folder) != ["a", "b"] or scratch.list(after=names[9]) != names[10:]:
        raise _Failed("folders, or keys from one on, are not listed as they should be")
    scratch.store.delete(f"{scratch.folder}/{name}" for name in names[:10])
    if scratch.list() != names[10:]:
        raise _Failed("keys that were just deleted are listed still")
    try:
        scratch.get(names[0])
    except MissingKeyError:
        return f"{len(names)} keys are listed as soon as they are written, and no more once deleted"
    raise _Failed("a key that was just deleted can be read still")


def _ranges(scratch: _Scratch) -> str:
    data = os.urandom(2**20)
    scratch.create("key", data)
    for start, length in ((0, 10), (500_000, 1000), (len(data) - 7, 7), (len(data) - 7, 1000)):
        if scratch.store.get_range(f"{scratch.folder}/key", start, length) != data[start : start + length]:
            raise _Failed(f"{length} bytes from {start} on are not those that were written")
    return "parts of an object are read alone"


def _large(scratch: _Scratch) -> str:
    data = os.urandom(LARGE)
    began = time.perf_counter()
    if not scratch.create("key", data):
        raise _Failed("a new key is said to be there already")
    written = time.perf_counter()
    found = scratch.get("key")
    read = time.perf_counter()
    if hashlib.sha256(found).digest() != hashlib.sha256(data).digest():
        raise _Failed("what is read has another hash than what was written")
    up, down = (LARGE / 1e6 / max(1e-9, seconds) for seconds in (written - began, read - written))
    return f"{LARGE // 2**20} MiB in one request, {up:.0f} MB/s up and {down:.0f} MB/s down"


def _arrow(scratch: _Scratch) -> str:
    from pyarrow.fs import FileSelector

    files, path = scratch.store.arrow(scratch.folder)
    data = os.urandom(100_000)
    files.create_dir(path, recursive=True)
    scratch.written.append(f"{scratch.folder}/key")
    with files.open_output_stream(f"{path}/key") as stream:
        stream.write(data)
    if scratch.get("key") != data:
        raise _Failed("what pyarrow wrote is not what is read")
    scratch.create("other", data)
    with files.open_input_file(f"{path}/other") as stream:
        if stream.read() != data:
            raise _Failed("what pyarrow reads is not what was written")
    names = sorted(info.base_name for info in files.get_file_info(FileSelector(path)))
    if names != ["key", "other"]:
        raise _Failed(f"pyarrow lists {', '.join(names) or 'nothing'} instead of key, other")
    return "pyarrow writes, lists and reads the same files"


def _delta(scratch: _Scratch) -> str:
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    url, options = scratch.store.delta(f"{scratch.folder}/table")
    scratch.written.append(f"{scratch.folder}/table/_delta_log/{0:020}.json")

    def append(values: list[int]) -> None:
        table = pa.table({"value": pa.array(values, pa.int64())})
        write_deltalake(url, table, mode="append", storage_options=options)

    def commit(writer: int) -> None:
        for i in range(COMMITS):
            append([writer * COMMITS + i])

    append([])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(commit, range(2)))
    table = DeltaTable(url, storage_options=options)
    values = sorted(table.to_pyarrow_table()["value"].to_pylist())
    if values != list(range(2 * COMMITS)) or table.version() != 2 * COMMITS:
        raise _Failed(f"{2 * COMMITS} commits by two writers left the rows {values} in version {table.version()}")
    return f"{2 * COMMITS} commits by two writers at once, none lost"


_FIRST = ("reach", "write and read")
_CHECKS: dict[str, tuple[Callable[[_Scratch], str], str]] = {
    "reach": (_reach, "correct --store, the keys or AWS_ENDPOINT_URL"),
    "write and read": (_write, "see whether a cache or a proxy lies before the store"),
    "create once": (_once, _ONCE),
    "create once, raced": (_race, _ONCE),
    "list": (_list, _CONSISTENT),
    "ranges": (_ranges, _RANGES),
    "large upload": (_large, _LARGE),
    "pyarrow (Ray)": (_arrow, _ARROW),
    "delta-rs": (_delta, _DELTA),
}
