"""What is checked where a job arrives: packages against what is needed and what the submitting side has; the store."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from xtlray.errors import RequestError
from xtlray.store import Store
from xtlray.submit import arrival, environment

HERE = metadata.version("numpy")


def stated(**packages: tuple[str, str | None]) -> dict[str, Any]:
    """What the submitting side says: ranges and versions."""
    python = {"range": ">=3.11", "version": platform.python_version()}
    return {
        "python": python,
        "packages": {name: {"range": wanted, "version": version} for name, (wanted, version) in packages.items()},
    }


def test_the_submitting_side_states_every_package_and_its_own_versions() -> None:
    found = environment.stated()
    assert found["packages"]["numpy"] == {"range": "<3,>=2.2", "version": HERE}
    assert found["packages"]["ray"]["version"] == metadata.version("ray")
    assert {"torch", "obstore", "click", "scikit-learn"} <= set(found["packages"])
    assert "pytest" not in found["packages"]
    assert found["python"] == {"range": ">=3.11,<3.14", "version": platform.python_version()}
    assert arrival.check_packages(found) == [
        f"python and {len(found['packages'])} packages are as on the submitting side"
    ]


def test_what_differs_is_said() -> None:
    said = arrival.check_packages(stated(numpy=(">=2", "2.0.7"), click=(">=8", metadata.version("click"))))
    assert said == [
        f"warning: the cluster's packages differ from the submitting side's: numpy {HERE} here, 2.0.7 there"
    ]


def test_another_build_is_no_other_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cu128")
    assert arrival.check_packages(stated(torch=(">=2.9,<2.14", "2.13.0+cpu"))) == [
        "python and 1 packages are as on the submitting side"
    ]


def test_all_that_does_not_fit_is_refused_at_once() -> None:
    needed = stated(numpy=("<2", "1.26.0"), no_such_package=(">=1", "1.0"), click=(">=8", "8.2"))
    needed["python"]["range"] = ">=3.99"
    with pytest.raises(RequestError) as caught:
        arrival.check_packages(needed)
    assert caught.value.got == (
        f"python {platform.python_version()}, not within >=3.99; numpy {HERE}, not within <2; "
        "no_such_package is not installed"
    )


def test_the_store_must_be_the_one_that_was_meant(tmp_path: Path, s3: Store) -> None:
    Store.open(str(tmp_path / "store")).create("builtin/x/complete.json", b"{}")
    arrival.check_store(str(tmp_path / "store"), "builtin/x/complete.json")
    with pytest.raises(RequestError, match="another one here"):
        arrival.check_store(str(tmp_path / "not-mounted"), "builtin/x/complete.json")
    assert not (tmp_path / "not-mounted").exists()
    s3.create("builtin/x/complete.json", b"{}")
    arrival.check_store(s3.url, "builtin/x/complete.json")
    with pytest.raises(RequestError, match="AWS_ENDPOINT_URL"):
        arrival.check_store(s3.url, "builtin/y/complete.json")


def arrive(folder: Path, about: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """What comes of a job's arrival in a process of its own, without the packages but those of Python itself."""
    (folder / "submitted.json").write_text(json.dumps(about))
    environ = {"PYTHONPATH": str(Path(arrival.__file__).parents[2]), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-m", "xtlray.submit.arrival", *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_where_nothing_is_installed_that_is_what_is_said(tmp_path: Path) -> None:
    done = arrive(tmp_path, {**environment.stated(), "store": "s3://b", "builtin": "x"}, "run", "job.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "numpy is not installed" in done.stderr
    assert "torch is not installed" in done.stderr
    assert "constraints.txt" in done.stderr
