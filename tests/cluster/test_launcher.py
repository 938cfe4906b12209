"""The launcher files of the clouds, by Ray's own validation, and what must hold of them beyond it.

No cloud is asked. Of Ray's private modules those are used that `ray up` runs before it asks one.
"""

from __future__ import annotations

import copy
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

CLOUDS = ("aws", "gcp")


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(repo_root: Path, cloud: str) -> dict[str, Any]:
    return yaml.safe_load((repo_root / "cluster" / f"{cloud}.yaml").read_text())


def workers(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}


def starts(config: dict[str, Any]) -> list[str]:
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(config))  # with Ray's defaults filled in
    validate_config(prepared)
    assert prepared["head_setup_commands"][: len(config["setup_commands"])] == config["setup_commands"]


def test_ray_would_refuse_a_slip(config: dict[str, Any]) -> None:
    config["available_node_types"]["cpu"]["max_worker"] = 3
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(config))


def test_workers_come_when_asked_for_and_go_when_idle(config: dict[str, Any]) -> None:
    assert {name: kind["min_workers"] for name, kind in workers(config).items()} == {"cpu": 0, "gpu": 0}
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert sum(kind["max_workers"] for kind in workers(config).values()) == config["max_workers"]
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False  # or what is let go goes on costing its disk


def test_gpus_are_spot_and_cpus_are_not(config: dict[str, Any], cloud: str) -> None:
    spot = {
        name: bool(kind["node_config"].get("InstanceMarketOptions") or kind["node_config"].get("scheduling"))
        for name, kind in config["available_node_types"].items()
    }
    assert spot == {"head": False, "cpu": False, "gpu": True}
    assert workers(config)["gpu"]["resources"]["GPU"] == 1


def test_ray_starts_with_a_token_or_not_at_all(config: dict[str, Any]) -> None:
    assert len(starts(config)) == 2
    for command in starts(config):
        before, _, _ = command.partition("ray start")
        assert "RAY_AUTH_MODE=token" in before
    assert config["cluster_synced_files"] == ["~/.ray/auth_token"]


def test_the_dashboard_listens_on_the_head_alone(config: dict[str, Any]) -> None:
    head = starts(config)[0]
    assert "--dashboard-host=127.0.0.1" in head
    assert not re.search(r"\b0\.0\.0\.0\b", str(config))


def test_a_cluster_that_starts_from_nothing_refuses_no_job_for_its_size(config: dict[str, Any]) -> None:
    assert "XTLRAY_CLUSTER_GROWS=1" in starts(config)[0]


def test_the_pinned_packages_are_installed_from_the_clone_alone(config: dict[str, Any], repo_root: Path) -> None:
    mounts = config["file_mounts"]
    assert set(mounts.values()) == {"xtlray", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert all((repo_root / local).exists() for local in mounts.values())
    installs = [each for each in config["setup_commands"] + config["head_setup_commands"] if "pip install" in each]
    assert len(installs) == 2
    assert all("-c ~/xtlray/constraints.txt" in each for each in installs)


def test_the_token_is_made_once_and_is_the_owners_alone(config: dict[str, Any], tmp_path: Path) -> None:
    """The head's own command, in a home of its own."""
    makes = next(each for each in config["head_setup_commands"] if "auth_token" in each)
    command = makes.replace("~/venv/bin/python", sys.executable)
    tokens = []
    for _ in range(2):
        subprocess.run(["bash", "-ec", command], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True)
        token = tmp_path / ".ray" / "auth_token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        tokens.append(token.read_text())
    assert re.fullmatch(r"[0-9a-f]{64}", tokens[0])
    assert tokens[1] == tokens[0]


def test_on_aws_ray_makes_no_security_group(repo_root: Path) -> None:
    """The one that it makes lets the whole world try SSH, whatever else the file says."""
    from ray.autoscaler._private.aws import config as of_ray

    config = yaml.safe_load((repo_root / "cluster" / "aws.yaml").read_text())
    assert of_ray._create_default_ssh_inbound_rules()[0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    before = copy.deepcopy(config)
    assert of_ray._configure_security_group(config) == before  # it comes back without a call to AWS
    assert "security_group" not in config["provider"]


def test_on_aws_machines_have_roles_of_their_own(repo_root: Path) -> None:
    from ray.autoscaler._private.aws import config as of_ray

    config = yaml.safe_load((repo_root / "cluster" / "aws.yaml").read_text())
    before = copy.deepcopy(config)
    assert of_ray._configure_iam_role(config) == before  # Ray makes none with rights over all of EC2 and S3
    of_ray._check_ami(config)
    assert config == before  # nor does it put its own image there, whose Python is too old
    for kind in config["available_node_types"].values():
        assert kind["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_on_google_cloud_the_network_is_a_closed_one(repo_root: Path) -> None:
    """Where all node types name a network, Ray does not look for one: it would take `default`, open to SSH."""
    config = yaml.safe_load((repo_root / "cluster" / "gcp.yaml").read_text())
    for kind in config["available_node_types"].values():
        networks = kind["node_config"]["networkInterfaces"]
        assert [each["subnetwork"].rpartition("/")[2] for each in networks] == ["xtlray"]


def test_what_has_to_be_edited_is_marked(config: dict[str, Any], repo_root: Path, cloud: str) -> None:
    text = (repo_root / "cluster" / f"{cloud}.yaml").read_text()
    readme = (repo_root / "cluster" / "README.md").read_text()
    assert "EDIT" in text
    assert f"grep -n EDIT cluster/{cloud}.yaml" in readme
