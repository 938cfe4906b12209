"""The way in is chosen by size, and said; what memory is left is read as the system tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from xtlray.data.loader import HEADROOM_BYTES, Loader, available_memory, choose

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("rows", "available", "wanted", "expected", "said"),
    [
        (
            1_000_000,
            3 * GB,
            "auto",
            "resident",
            "1,000,000 rows, 500 MB to load, 3,000 MB of memory available: so resident",
        ),
        (10_000_000, 3 * GB, "auto", "streaming", "so streaming"),
        (10_000_000, 3 * GB, "resident", "resident", "as the job says; it may not fit"),
        (1_000_000, 3 * GB, "resident", "resident", "as the job says"),
        (1_000_000, 3 * GB, "streaming", "streaming", "as the job says"),
        (10_000_000, None, "auto", "resident", "an unknown amount of memory available: so resident"),
        (0, 0, "auto", "streaming", "1,074 MB are kept for training"),
    ],
)
def test_resident_where_it_fits(rows: int, available: int | None, wanted: Loader, expected: str, said: str) -> None:
    choice = choose(rows, 500, available, wanted)
    assert choice.loader == expected
    assert choice.reason.endswith(said) or said in choice.reason


def test_headroom_is_kept_to_the_byte() -> None:
    assert choose(1000, 10, HEADROOM_BYTES + 10_000, "auto").loader == "resident"
    assert choose(1000, 10, HEADROOM_BYTES + 9_999, "auto").loader == "streaming"


def test_the_reason_names_what_is_short() -> None:
    assert "2 MB of GPU memory" in choose(1, 1, 2_000_000, "auto", "GPU memory").reason


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n"}
POD = "sys/fs/cgroup/pod"


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


def test_without_a_limit_it_is_the_systems(tmp_path: Path) -> None:
    own = {"proc/self/cgroup": "0::/pod\n", f"{POD}/memory.max": "max\n", f"{POD}/memory.current": "5\n"}
    assert available_memory(put(tmp_path, MEMINFO | own)) == 8000 * 1024


@pytest.mark.parametrize(("limit", "expected"), [(3_000_000, 2_300_000), (99_000_000, 8000 * 1024), (500_000, 0)])
def test_the_containers_limit_counts_where_it_is_less(tmp_path: Path, limit: int, expected: int) -> None:
    own = {
        "proc/self/cgroup": "1:name=x:/y\n0::/pod/inner\n",
        f"{POD}/memory.max": f"{limit}\n",
        f"{POD}/memory.current": "1000000\n",
        f"{POD}/memory.stat": "anon 7\ninactive_file 300000\n",
        f"{POD}/inner/memory.max": "max\n",
        f"{POD}/inner/memory.current": "1\n",
    }
    assert available_memory(put(tmp_path, MEMINFO | own)) == expected


def test_the_first_version_of_cgroups(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    own = {
        f"{folder}/memory.limit_in_bytes": "3000000\n",
        f"{folder}/memory.usage_in_bytes": "1000000\n",
        f"{folder}/memory.stat": "total_inactive_file 1000\n",
    }
    assert available_memory(put(tmp_path, MEMINFO | own)) == 2_001_000
