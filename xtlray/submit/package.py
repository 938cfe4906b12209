"""What travels to a cluster: code and job, as two archives with one spelling each, and what the code comes with.

Files are taken because their place and their ending are listed here, never since nothing forbids them. The built-in
datasets and models would be 7 MB more with each version of the code: they are put into the job's own store instead,
once, under a hash of what they are.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from xtlray.errors import RequestError
from xtlray.store import Store, builtin

MOST_BYTES = 2_000_000
JOB, START = "job.yaml", "start.sh"  # in the job's archive, beside what `arrival.py` reads
COMPLETE = "complete.json"  # in a copy of what is built in: without it none of the files counts
_CODE = ("**/*.py", "catalog/*.yaml", "catalog/*.json", "catalog/*.csv")
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that an archive knows: equal files make equal archives
# Ray runs an entrypoint in a shell, whose PATH need not lead to the Python that Ray itself runs on. That shell's parent
# is a worker of Ray's: what it has loaded says where that Python lies, where there is Linux' /proc.
START_SCRIPT = r"""
ray='s|^[^/]*\(/.*\)/lib\(64\)*/python[0-9.]*/site-packages/ray/_raylet\.so$|\1|p'
prefix=$({ sed -n "$ray" "/proc/$PPID/maps" | head -n 1; } 2>/dev/null)
for python in "${prefix:+$prefix/bin/python}" python3 python; do
    if "$python" -c 'import sys, importlib.util; sys.exit(not importlib.util.find_spec("ray"))' 2>/dev/null; then
        exec "$python" -m xtlray.submit.arrival "$@"
    fi
done
echo "error: No Python with Ray is on the PATH of the head. To mend it: start Ray in an activated environment." >&2
exit 2
""".lstrip()


def code_files(package: Path | None = None) -> dict[str, bytes]:
    """The files of the package that are code, by their path in an archive.

    Args:
        package: its folder; by default the one that runs.
    """
    package = package or Path(__file__).parents[1]
    found = {}
    for pattern in _CODE:
        for path in package.glob(pattern):
            inner = path.relative_to(package)
            if any(part.startswith(".") for part in inner.parts) or path.is_symlink() or not path.is_file():
                continue
            found[f"{package.name}/{inner.as_posix()}"] = path.read_bytes()
    return found


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip file whose bytes depend on names and contents alone.

    Raises:
        RequestError: it is larger than what is sent.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for name in sorted(files):
            about = zipfile.ZipInfo(name, _DATE)
            about.external_attr = 0o644 << 16
            made.writestr(about, files[name], zipfile.ZIP_DEFLATED, compresslevel=9)
    data = buffer.getvalue()
    if len(data) > MOST_BYTES:
        largest = sorted(files, key=lambda name: len(files[name]), reverse=True)[:3]
        raise RequestError(
            "What would be sent to the cluster is too large",
            got=f"{len(data) / 1e6:.1f} MB, most of it {', '.join(largest)}",
            allowed=f"{MOST_BYTES / 1e6:.0f} MB",
            fix="take large files out of the package's folder; data belong into the store",
        )
    return data


def put_builtin(store: Store, package: Store | None = None) -> tuple[str, int, bool]:
    """Make sure that the built-in datasets and models lie in `store`, for a cluster that gets the code alone.

    Args:
        store: the job's.
        package: where they lie; by default in the package.

    Returns:
        The folder in `store` that holds them, the bytes that they have, and whether they had to be put there.
    """
    package = package or builtin()
    keys = package.list("")
    contents = {key: data for key, data in zip(keys, package.get_all(keys), strict=True) if data is not None}
    hashes = {key: hashlib.sha256(data).hexdigest() for key, data in contents.items()}
    size = sum(map(len, contents.values()))
    folder = f"builtin/{hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:16]}"
    if store.exists(f"{folder}/{COMPLETE}"):
        return folder, size, False
    for key, data in contents.items():
        store.ensure(f"{folder}/{key}", data)
    store.create_json(f"{folder}/{COMPLETE}", hashes)  # last
    return folder, size, True
