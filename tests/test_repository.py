"""What must not get into the repository: a machine's paths, package indexes, big files, pickle, unfinished work."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

LARGEST_FILE = 500_000  # bytes
LONGEST_MODULE = 400  # lines; 300 is the guide

# Spelled in two pieces, so that this file does not hold what it looks for.
FORBIDDEN_TEXT = {
    "a path of somebody's machine": r"(?<![\w.$}/])/" + r"(?:root|work|Users|home/(?!ray\b)\w+|tmp/w|opt/\w+)/",
    "the host of a package index": r"pypi\." + r"org|pythonhosted\." + r"org|download\.pytorch\." + r"org|--(?:extra-)?"
    r"index-url[ =]https?:",
    "unfinished work": r"\bTO" + r"DO\b|\bFIX" + r"ME\b",
    "a conflict that git left": r"^<<<<" + r"<<< |^>>>>" + r">>> ",
}
PICKLE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "torch.load",
    "torch.save",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle",
    "pandas.read_pickle",
    "eval",
    "exec",
}


@pytest.fixture(scope="module")
def root() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """The files that git tracks and that are there."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [root / name for name in done.stdout.split("\0") if name and (root / name).is_file()]


def unsafe(source: str) -> list[str]:
    """Imports and calls in a module that read or write pickle, or run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLE_MODULES:
            found.append(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            found += [name for name in (f"{node.module}.{alias.name}" for alias in node.names) if name in UNSAFE_CALLS]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found += [called] if called in UNSAFE_CALLS or called.endswith(".to_pickle") else []
            found += [f"{called}(allow_pickle)" for word in node.keywords if word.arg == "allow_pickle"]
    return found


def test_the_search_for_unsafe_code_finds_it() -> None:
    source = (
        "import pickle\nfrom joblib import dump\nx = torch.load(f)\nnp.load(f, allow_pickle=True)\nyaml.safe_load(t)\n"
        "from torch import load, save as keep, nn\nfrom safetensors.torch import load\n"
    )
    expected = ["joblib", "np.load(allow_pickle)", "pickle", "torch.load", "torch.load", "torch.save"]
    assert sorted(unsafe(source)) == expected


def test_no_pickle_and_no_code_that_is_read_from_files(root: Path) -> None:
    modules = sorted((root / "xtlray").rglob("*.py"))
    found = {str(path.relative_to(root)): unsafe(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_no_forbidden_text(root: Path, tracked: list[Path], what: str) -> None:
    pattern = re.compile(FORBIDDEN_TEXT[what], flags=re.MULTILINE)
    found = []
    for path in tracked:
        data = path.read_bytes()
        if b"\0" in data[:8000]:
            continue  # not text
        text = data.decode("utf-8")
        found += [f"{path.relative_to(root)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


def test_no_big_file(root: Path, tracked: list[Path]) -> None:
    """The models of the package have a limit of their own: tests/registry/test_builtin.py."""
    others = [p for p in tracked if not p.is_relative_to(root / "xtlray" / "builtin" / "models")]
    assert [f"{p.relative_to(root)}: {p.stat().st_size}" for p in others if p.stat().st_size > LARGEST_FILE] == []


def test_no_long_module(root: Path, tracked: list[Path]) -> None:
    lines = {p.relative_to(root): p.read_text(encoding="utf-8").count("\n") for p in tracked if p.suffix == ".py"}
    assert [f"{path}: {n} lines" for path, n in lines.items() if n > LONGEST_MODULE] == []


def test_every_module_says_what_it_holds(root: Path, tracked: list[Path]) -> None:
    modules = [p for p in tracked if p.suffix == ".py" and p.is_relative_to(root / "xtlray")]
    mute = [p for p in modules if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]
    assert [str(p.relative_to(root)) for p in mute] == []


def test_the_pins_satisfy_the_ranges_of_pyproject(root: Path) -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]
    assert {str(r) for r in needed if pins.get(canonicalize_name(r.name), "") not in r.specifier} == set()
    assert pins["torch"] == "2.13.0"  # no local version: CPU and CUDA builds alike
    assert pins["pandas"].startswith("2.")
