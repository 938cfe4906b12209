"""The Kubernetes files: by KubeRay's and Kubernetes' types, and what must hold of them beyond that."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.cluster.kubernetes import checked


@pytest.fixture
def folder(repo_root: Path) -> Path:
    return repo_root / "cluster" / "kuberay"


@pytest.fixture
def cluster(folder: Path) -> dict[str, Any]:
    """The RayCluster, without what its anchors share: a change to one place is a change to one place."""
    return copy.deepcopy(json.loads(json.dumps(yaml.safe_load((folder / "raycluster.yaml").read_text()))))


def pods(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods' specs, by group."""
    spec = cluster["spec"]
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in {"head": spec["headGroupSpec"], **groups}.items()}


def steps(folder: Path) -> list[list[str]]:
    """What the Dockerfile does: words and what follows them."""
    lines = (folder / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


def test_all_files_are_of_their_kind(folder: Path) -> None:
    files = sorted(folder.rglob("*.yaml"))
    assert len(files) > 2
    for file in files:
        checked(json.dumps(yaml.safe_load(file.read_text())))


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ((), "specs"),
        (("spec",), "enableAutoscaling"),
        (("spec", "authOptions"), "Mode"),
        (("spec", "workerGroupSpecs", 0), "maxReplica"),
        (("spec", "headGroupSpec", "template", "spec"), "securitycontext"),
        (("spec", "headGroupSpec", "template", "spec", "containers", 0, "livenessProbe"), "period"),
    ],
)
def test_a_slip_is_found_at_any_depth(cluster: dict[str, Any], where: tuple[Any, ...], key: str) -> None:
    place: Any = cluster
    for step in where:
        place = place[step]
    place[key] = {}
    with pytest.raises(ValidationError, match=key):
        checked(json.dumps(cluster))


def test_it_asks_for_a_token_and_is_not_to_be_reached_from_outside(cluster: dict[str, Any], folder: Path) -> None:
    spec = cluster["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not spec["headGroupSpec"].get("enableIngress")
    policy = yaml.safe_load((folder / "network.yaml").read_text())["spec"]
    assert policy["podSelector"]["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    open_to_all = [rule for rule in policy["ingress"] if not rule.get("from")]
    assert open_to_all == []
    assert "ports" not in policy["ingress"][0]  # among Ray's own pods, all ports
    assert all(rule["ports"] for rule in policy["ingress"][1:])


def test_workers_come_when_asked_for_and_go_when_idle(cluster: dict[str, Any]) -> None:
    spec = cluster["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert 0 < spec["autoscalerOptions"]["idleTimeoutSeconds"] <= 900
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0)
        assert group["maxReplicas"] > 0
    grows = {"name": "XTLRAY_CLUSTER_GROWS", "value": "1"}
    assert grows in pods(cluster)["head"]["containers"][0]["env"]  # where jobs' drivers run


def test_pods_have_no_rights_and_bounded_means(cluster: dict[str, Any]) -> None:
    for name, pod in pods(cluster).items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        container = pod["containers"][0]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        limits = container["resources"]["limits"]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(limits)
        assert container["resources"]["requests"]["memory"] == limits["memory"]  # or a full node ends the pod
        assert ("nvidia.com/gpu" in limits) is (name == "gpu")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}
        assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"])
        assert name == "head" or pod["automountServiceAccountToken"] is False


def test_there_is_a_rayjob_for_each_job_file(folder: Path, repo_root: Path, cluster: dict[str, Any]) -> None:
    jobs = {path.stem for path in (repo_root / "jobs").glob("*.yaml")}
    rayjobs = {path.stem: yaml.safe_load(path.read_text()) for path in (folder / "rayjobs").glob("*.yaml")}
    assert set(rayjobs) == jobs
    for name, rayjob in rayjobs.items():
        assert rayjob["metadata"]["name"] == f"xtlray-{name.replace('_', '-')}"
        assert rayjob["spec"]["entrypoint"] == f"xtlray run /home/ray/xtlray/jobs/{name}.yaml"
        assert rayjob["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}


def test_ray_is_the_one_that_is_tested(cluster: dict[str, Any], repo_root: Path) -> None:
    pinned = re.search(r"^ray==(\S+)$", (repo_root / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert pinned
    assert cluster["spec"]["rayVersion"] == pinned[1]


def test_all_pods_have_the_image_of_this_version(cluster: dict[str, Any], repo_root: Path) -> None:
    version = tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]["version"]
    images = {pod["containers"][0]["image"] for pod in pods(cluster).values()}
    assert {image.rpartition(":")[2] for image in images} == {version}


def test_the_image_is_of_this_package_and_runs_as_nobody_special(folder: Path, repo_root: Path) -> None:
    said = steps(folder)
    assert [rest for word, rest in said if word == "USER"] == ["1000:1000"]
    assert said[-1][0] == "USER"  # what comes after it would not be run by that user
    copied = {name for word, rest in said if word == "COPY" for name in rest.split()[:-1]}
    assert copied == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "xtlray", "jobs"}
    allowed = (folder / "Dockerfile.dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    assert {line.removeprefix("!") for line in allowed if line.startswith("!")} == copied
    assert all((repo_root / name).exists() for name in copied)
    assert not [rest for word, rest in said if word == "ADD"]
    assert any("-c constraints.txt" in rest for word, rest in said if word == "RUN")


def test_the_image_has_the_package_as_it_is_in_the_clone(folder: Path, repo_root: Path, tmp_path: Path) -> None:
    """Its steps, with a pip that builds the package and installs nothing."""
    pytest.importorskip("setuptools")
    pip, image = tmp_path / "bin" / "pip", tmp_path / "image"
    pip.parent.mkdir()
    image.mkdir()
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{build}"\n')
    pip.chmod(0o755)
    for word, rest in steps(folder):
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                if (repo_root / name).is_dir():
                    shutil.copytree(repo_root / name, image / target, dirs_exist_ok=True)
                else:
                    shutil.copy2(repo_root / name, image / target)
        elif word == "RUN" and "pip install" in rest:
            path = {"PATH": f"{pip.parent}:/usr/bin:/bin"}
            subprocess.run(["sh", "-ec", rest], cwd=image, env=path, capture_output=True, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as made:
        for file in (repo_root / "xtlray").rglob("*.py"):
            assert made.read(file.relative_to(repo_root).as_posix()) == file.read_bytes(), file
