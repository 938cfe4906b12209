"""README's tree is true: it names every folder and file that a newcomer meets first, and nothing else.

It holds what lies at the top (dotfiles apart), what lies in the package, and the folders inside other top-level
folders; tests mirror the package and are not repeated.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

LINE = re.compile(r"^(?P<indent> *)(?P<name>\S+)  +(?P<purpose>\S.*)$")


def listed(readme: str) -> dict[str, str]:
    """Path → purpose of each line in the README's tree. A folder ends with a slash; two spaces indent its children."""
    block = re.search(r"<!-- tree -->\n```\n(.*?)```\n<!-- /tree -->", readme, flags=re.DOTALL)
    assert block, "README.md has no tree between <!-- tree --> and <!-- /tree -->"
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block[1].splitlines():
        match = LINE.match(line)
        assert match, f"not a line of the tree (name, two spaces, purpose): {line!r}"
        depth = len(match["indent"]) // 2
        path = "".join(folders[:depth]) + match["name"]
        assert path not in found, f"twice in the tree: {path}"
        found[path] = match["purpose"]
        if match["name"].endswith("/"):
            folders[depth:] = [match["name"]]
    return found


def expected(tracked: list[str]) -> set[str]:
    """What the tree has to list, given the files that git tracks."""
    paths: set[str] = set()
    for name in tracked:
        parts = PurePosixPath(name).parts
        if parts[0].startswith("."):
            continue
        paths.add(parts[0] + ("/" if len(parts) > 1 else ""))
        if parts[0] != "tests" and len(parts) > 2:
            paths.add(f"{parts[0]}/{parts[1]}/")
        if parts[0] == "xtlray" and len(parts) == 2:
            paths.add(name)
    return paths


def tracked_files(root: Path) -> list[str]:
    """The files that git tracks and that are there; the test is skipped outside of a git checkout."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (root / name).is_file()]


def test_the_readme_lists_what_is_there(repo_root: Path) -> None:
    tree = set(listed((repo_root / "README.md").read_text(encoding="utf-8")))
    there = expected(tracked_files(repo_root))
    assert sorted(there - tree) == [], "missing from the tree in README.md"
    assert sorted(tree - there) == [], "in the tree in README.md, but git does not track them"


def test_a_tree_is_read_by_its_indents() -> None:
    readme = "<!-- tree -->\n```\na/      first\n  b/    inner\n  c.py  file\nd/      last\n```\n<!-- /tree -->"
    assert listed(readme) == {"a/": "first", "a/b/": "inner", "a/c.py": "file", "d/": "last"}


def test_what_a_tree_has_to_list() -> None:
    tracked = [".ci/run", "README.md", "jobs/demo.yaml", "jobs/bench/x.yaml", "tests/cli/test_main.py"]
    tracked += ["xtlray/store.py", "xtlray/cli/main.py", "xtlray/builtin/datasets/demo/a/card.json"]
    assert expected(tracked) == {
        "README.md",
        "jobs/",
        "jobs/bench/",
        "tests/",
        "xtlray/",
        "xtlray/store.py",
        "xtlray/cli/",
        "xtlray/builtin/",
    }
