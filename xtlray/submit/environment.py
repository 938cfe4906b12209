"""The packages of the submitting side: what xtlray needs, in which range, and what is installed here."""

from __future__ import annotations

import platform
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from xtlray.errors import RequestError


def stated() -> dict[str, Any]:
    """What is to be compared on the cluster.

    Returns:
        `python` and `packages` (by name), each with its `range` and the `version` here, None for one that is missing.

    Raises:
        RequestError: it is not known what xtlray needs.
    """
    from packaging.requirements import Requirement

    python, lines = _declared()
    needed = [Requirement(line) for line in lines]
    packages = {
        item.name: {"range": str(item.specifier), "version": _version(item.name)}
        for item in needed
        if item.marker is None or item.marker.evaluate({"extra": ""})
    }
    return {"python": {"range": python, "version": platform.python_version()}, "packages": packages}


def _declared() -> tuple[str, list[str]]:
    """The range of Python, and the packages that are needed: of the checkout, else of what is installed."""
    file = Path(__file__).parents[2] / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "xtlray":
            return project["requires-python"], project["dependencies"]
    try:
        about = metadata.metadata("xtlray")
    except metadata.PackageNotFoundError as error:
        raise RequestError(
            "It is not known which packages xtlray needs: it is not installed here",
            fix="pip install -c constraints.txt -e . in a clone of its repository",
        ) from error
    return about["Requires-Python"] or "", metadata.requires("xtlray") or []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
