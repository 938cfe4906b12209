"""The READMEs of clusters: their commands say where the cluster and the store are, and ask for what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

NEEDED = {  # by command: an option, or the variable that stands for it
    "submit": {"--address": "RAY_API_SERVER_ADDRESS", "--store": "XTLRAY_STORE"},
    "jobs": {"--address": "RAY_API_SERVER_ADDRESS"},
    "status": {"--store": "XTLRAY_STORE"},
}


def commands(readme: Path) -> list[list[str]]:
    """The lines of its blocks of commands, as a shell takes them apart."""
    blocks = re.findall(r"^```bash\n(.*?)^```", readme.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("name", ["README.md", "kuberay/README.md"])
def test_where_the_cluster_and_the_store_are_is_said(name: str, repo_root: Path) -> None:
    exported: set[str] = set()
    found = []
    for program, *words in commands(repo_root / "cluster" / name):
        if program == "export":
            exported |= {word.partition("=")[0] for word in words}
        if program != "xtlray":
            continue
        found.append(words[0])
        for option, variable in NEEDED[words[0]].items():
            assert option in words or variable in exported, words
    assert set(found) == set(NEEDED)


def test_what_is_asked_for_by_its_label_has_it(repo_root: Path) -> None:
    """Pods do not: those that KubeRay makes have its own labels, and not the ones of their RayCluster."""
    folder = repo_root / "cluster" / "kuberay"
    files = [yaml.safe_load(file.read_text()) for file in folder.rglob("*.yaml")]
    have = {file["kind"].lower() for file in files if "app.kubernetes.io/part-of" in file["metadata"]["labels"]}
    asked = [
        words[2].split(",")
        for words in commands(folder / "README.md")
        if "app.kubernetes.io/part-of=xtlray" in words and words[:2] == ["kubectl", "get"]
    ]
    assert asked
    assert {kind for kinds in asked for kind in kinds} <= have
