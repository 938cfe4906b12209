"""The layers: a module imports its own folder and lower layers only; Ray, torch and the object store stay in theirs.

All imports count, those inside functions and those for the type checker too: a layer that needs a higher one late
still needs it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

# Lowest first. Parts that share a line may import each other, unless they are siblings.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(line.split())
    for line in (
        "arrow_files backend clock credentials errors model_records names patience progress provenance record records "
        "refusals runs scratch scrub settings status store store_check strict termination urls",
        "catalog",
        "chem",
        "data",
        "nn",
        "training",
        "pretrain transfer",
        "registry leaderboard",
        "report",
        "estimator pipeline ray_logs ray_session",
        "bench submit",
        "kinds",
        "cli",
    )
)
SIBLINGS = (frozenset({"pretrain", "transfer"}), frozenset({"bench", "submit"}))
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

# Which parts may import a library that is slow to import or has one owner. A path is a single file, the exceptions.
OWNERS: dict[str, frozenset[str]] = {
    "ray": frozenset({"data", "pretrain", "transfer", "ray_logs", "ray_session", "bench", "submit", "cli/doctor.py"}),
    "torch": frozenset(part for part, rank in RANK.items() if rank >= RANK["data"]),
    "obstore": frozenset({"backend", "store"}),
    "deltalake": frozenset({"leaderboard", "store_check"}),
    "fsspec": frozenset(),
    "boto3": frozenset(),
    "botocore": frozenset({"credentials"}),
}

# The package's own __init__ offers a few names, which it imports when it is asked for them.
FRONT_DOOR = {("__init__.py", f"xtlray.{part}") for part in ("estimator", "pipeline", "registry")}


def imports(source: str) -> set[str]:
    """The dotted names of everything that a module imports, at any depth; `from xtlray import x` is `xtlray.x`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module is not None
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "xtlray" else {node.module}
            )
    return found


def part_of(path: str) -> str:
    """The layer table's word for a file of the package: `chem/formula.py` is in `chem`, `store.py` is `store`."""
    return path.split("/")[0].removesuffix(".py")


def complaint(path: str, imported: str) -> str | None:
    """Why the file `path` (relative to the package) may not import `imported`; None if it may."""
    root, _, rest = imported.partition(".")
    part = part_of(path)
    if root in OWNERS and not OWNERS[root] & {part, path}:
        return f"{path} imports {root}, which only {', '.join(sorted(OWNERS[root])) or 'nothing'} may"
    other = rest.split(".")[0]
    if root != "xtlray" or other not in RANK or (path, f"{root}.{other}") in FRONT_DOOR:
        return None  # another library, or a name such as xtlray.__version__
    if other == part:
        return None
    if part not in RANK or RANK[other] > RANK[part]:
        return f"{path} imports {imported}, a higher layer"
    if any({part, other} <= siblings for siblings in SIBLINGS):
        return f"{path} imports {imported}, a sibling"
    return None


@pytest.mark.parametrize(
    ("path", "imported", "expected"),
    [
        ("chem/formula.py", "xtlray.errors", None),
        ("chem/formula.py", "xtlray.chem.fractions", None),
        ("chem/formula.py", "xtlray.data.splits", "a higher layer"),
        ("errors.py", "xtlray.store", None),
        ("store.py", "xtlray.catalog", "a higher layer"),
        ("transfer/sweep.py", "xtlray.pretrain.trainer", "a sibling"),
        ("leaderboard/fold.py", "xtlray.registry.versions", None),
        ("kinds/bench.py", "xtlray.bench", None),
        ("kinds/bench.py", "xtlray.cli.common", "a higher layer"),
        ("cli/run.py", "xtlray.kinds", None),
        ("__init__.py", "xtlray.pipeline", None),
        ("__init__.py", "xtlray.store", "a higher layer"),
        ("training/loop.py", "ray.train", "which only"),
        ("cli/doctor.py", "ray", None),
        ("cli/run.py", "ray", "which only"),
        ("chem/formula.py", "torch", "which only"),
        ("nn/nets.py", "torch.nn", None),
        ("data/shards.py", "obstore", "which only"),
        ("data/shards.py", "xtlray.__version__", None),
    ],
)
def test_the_rule_itself(path: str, imported: str, expected: str | None) -> None:
    said = complaint(path, imported)
    assert said is None if expected is None else said is not None and expected in said


def test_imports_inside_functions_and_for_types_are_seen() -> None:
    source = (
        "import a.b\nif TYPE_CHECKING:\n    from xtlray import store\ndef f():\n    from xtlray.cli.main import x\n"
    )
    assert imports(source) == {"a.b", "xtlray.store", "xtlray.cli.main"}


def test_every_part_of_the_package_has_a_layer(repo_root: Path) -> None:
    parts = {part_of(path) for path in _modules(repo_root / "xtlray")}
    assert parts - {"__init__"} - set(RANK) == set()


def test_the_package_keeps_to_its_layers(repo_root: Path) -> None:
    package = repo_root / "xtlray"
    complaints = [
        said
        for path in _modules(package)
        for imported in sorted(imports((package / path).read_text(encoding="utf-8")))
        if (said := complaint(path, imported))
    ]
    assert complaints == []


def test_the_demo_data_folder_holds_no_code(repo_root: Path) -> None:
    assert list((repo_root / "xtlray" / "builtin").rglob("*.py")) == []


def _modules(package: Path) -> list[str]:
    return sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
