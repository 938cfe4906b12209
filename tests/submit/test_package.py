"""What travels: files that are listed, as archives with one spelling; and the copy of what is built in."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from xtlray.data.dataset import known_datasets, open_dataset
from xtlray.errors import RequestError
from xtlray.registry.versions import resolve
from xtlray.store import Store, builtin
from xtlray.submit.package import MOST_BYTES, START_SCRIPT, archive, code_files, put_builtin


def names(data: bytes) -> set[str]:
    return set(zipfile.ZipFile(io.BytesIO(data)).namelist())


# --- the code --------------------------------------------------------------------------------------------------------


def test_the_code_is_all_modules_and_the_catalog_and_small(repo_root: Path) -> None:
    data = archive(code_files())
    modules = {str(path.relative_to(repo_root)) for path in (repo_root / "xtlray").rglob("*.py")}
    catalog = {f"xtlray/catalog/{path.name}" for path in (repo_root / "xtlray/catalog").iterdir() if path.is_file()}
    assert names(data) == modules | catalog
    assert len(data) < MOST_BYTES / 2


def test_only_what_is_listed_is_taken(tmp_path: Path) -> None:
    package = tmp_path / "xtlray"
    wanted = ["__init__.py", "cli/main.py", "catalog/oqmd.yaml", "catalog/x.csv"]
    unwanted = [
        ".git/config",
        ".hidden.py",
        ".venv/lib/x.py",
        "notes.txt",
        "xtlray-store/datasets/user/gap/x/part-00000.parquet",
        "builtin/models/x/1/weights.safetensors",
        "__pycache__/main.cpython-311.pyc",
        "cli/.env",
        "cli/keys.json",
        "main.py~",
    ]
    for name in wanted + unwanted:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    (tmp_path / "secret.py").write_text("elsewhere")
    (package / "linked.py").symlink_to(tmp_path / "secret.py")
    assert code_files(package) == {f"xtlray/{name}": name.encode() for name in wanted}


def test_equal_files_make_equal_archives() -> None:
    files = {"b.py": b"2", "a/a.py": b"1" * 1000}
    assert archive(files) == archive(dict(reversed(files.items())))
    assert archive(files) != archive({**files, "b.py": b"3"})
    assert archive(files) != archive({"c.py": b"2", "a/a.py": files["a/a.py"]})


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(RequestError, match=r"too large.*3\.0 MB, most of it big\.py"):
        archive({"big.py": os.urandom(3_000_000), "small.py": b"1"})


# --- what is built in ------------------------------------------------------------------------------------------------


def test_a_copy_of_what_is_built_in_stands_for_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = known_datasets(store), resolve(store, "builtin/oqmd").card_hash()
    folder, size, put = put_builtin(store)
    assert put
    assert size == sum(item.size for item in builtin().listing(""))
    assert put_builtin(store) == (folder, size, False)

    assert store.local_path is not None
    monkeypatch.setenv("XTLRAY_BUILTIN", str(store.local_path / folder))  # as a job has it
    assert builtin().url == f"{store.url}/{folder}"
    assert (known_datasets(store), resolve(store, "builtin/oqmd").card_hash()) == before
    assert len(open_dataset(store, "demo/bulk_modulus").rows("test"))
    with pytest.raises(RequestError, match="cannot be written to"):
        builtin().create("x", b"")


def test_a_copy_that_was_cut_off_is_completed(store: Store, tmp_path: Path) -> None:
    package = Store.open(str(tmp_path / "package"))
    for name in "abc":
        package.create(f"datasets/{name}", name.encode())
    folder, *_ = put_builtin(store, package)
    store.delete([f"{folder}/complete.json", f"{folder}/datasets/b"])
    store.ensure(f"{folder}/datasets/c", b"half of it")
    assert put_builtin(store, package) == (folder, 3, True)
    assert store.get_all([f"{folder}/datasets/{name}" for name in "abc"]) == [b"a", b"b", b"c"]


def test_another_version_has_a_folder_of_its_own(store: Store, tmp_path: Path) -> None:
    package = Store.open(str(tmp_path / "package"))
    package.create("a", b"1")
    first, *_ = put_builtin(store, package)
    package.create("b", b"2")
    assert put_builtin(store, package)[0] != first


# --- how it starts ---------------------------------------------------------------------------------------------------


def started(tmp_path: Path, command: str, path: str) -> subprocess.CompletedProcess[str]:
    """What comes of the script in a shell of this process, with a Python that says which it is, and its arguments."""
    said = "-c 'import sys; print(sys.prefix, *sys.argv[1:])'"
    (tmp_path / "start.sh").write_text(START_SCRIPT.replace("-m xtlray.submit.arrival", said))
    shell = ["/bin/sh", "-c", command]
    return subprocess.run(
        shell, cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux' /proc")
def test_the_python_that_ray_runs_on_is_found_though_it_is_not_on_the_path(tmp_path: Path) -> None:
    """The parent of the job's shell is a worker of Ray's; here it is this process, which has loaded as much of Ray."""
    import ray

    assert ray.__version__
    done = started(tmp_path, "exec /bin/sh start.sh run job.yaml", "/usr/bin:/bin")
    assert done.stdout.split() == [sys.prefix, "run", "job.yaml"], done.stderr


def test_else_the_first_python_on_the_path_that_has_ray(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to("/bin/false")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "python").chmod(0o755)
    done = started(tmp_path, "/bin/sh start.sh run job.yaml; exit $?", str(tmp_path))
    assert done.stdout.split()[1:] == ["run", "job.yaml"], done.stderr


def test_where_there_is_none_it_is_said(tmp_path: Path) -> None:
    done = started(tmp_path, "/bin/sh start.sh run job.yaml; exit $?", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: No Python with Ray is on the PATH")
