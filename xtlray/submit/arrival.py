"""The first that runs of a submitted job, on the cluster: is all here that it needs? Then it becomes `xtlray run`.

It may run where little is installed, and so imports nothing but Python's own modules until it knows better. What was
so on the submitting side stands in `submitted.json` beside the job.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from xtlray.errors import RequestError, XtlrayError

STATED = "submitted.json"
MEND = "install on every node the packages of xtlray's constraints.txt, as the submitting side has, then submit again"


def main(arguments: list[str]) -> int:
    """Check, then run `xtlray` with these arguments in this process' place. Returns the exit code if it cannot."""
    stated = json.loads(Path(STATED).read_text(encoding="utf-8"))
    try:
        for line in check_packages(stated):
            _say(line)
        check_store(stated["store"], stated["builtin"])
    except XtlrayError as error:
        _say(f"error: {error}")
        return error.exit_code
    os.execv(sys.executable, [sys.executable, "-m", "xtlray.cli.main", *arguments])


def _say(line: str) -> None:
    """A line in the job's log."""
    sys.stderr.write(f"xtlray: {line}\n")
    sys.stderr.flush()


def check_packages(stated: dict[str, Any]) -> list[str]:
    """Compare the packages here with what is needed, and with what the submitting side has.

    Args:
        stated: `python` and `packages` as `environment.stated` gives them.

    Returns:
        What to say of them.

    Raises:
        RequestError: something is missing, or of a version that xtlray does not work with.
    """
    found = {name: _version(name) for name in stated["packages"]}
    here = {"python": platform.python_version(), **found}
    needed = {"python": stated["python"], **stated["packages"]}
    unfit = [
        f"{name} {here[name]}, not within {each['range']}" if here[name] else f"{name} is not installed"
        for name, each in needed.items()
        if not _fits(here[name], each["range"])
    ]
    if unfit:
        raise RequestError("The cluster's packages are not what xtlray needs", got="; ".join(unfit), fix=MEND)
    other = [
        f"{name} {here[name]} here, {each['version'] or 'none'} there"
        for name, each in needed.items()
        if _public(here[name]) != _public(each["version"])
    ]
    if other:
        return [f"warning: the cluster's packages differ from the submitting side's: {'; '.join(other)}"]
    return [f"python and {len(found)} packages are as on the submitting side"]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fits(version: str | None, wanted: str) -> bool:
    if version is None:
        return False
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # it is itself among the packages, and told to be missing
        return True
    return SpecifierSet(wanted).contains(version, prereleases=True)


def _public(version: str | None) -> str | None:
    """Without what says which build it is: a CPU's torch and a GPU's are the same version."""
    return version and version.partition("+")[0]


def check_store(store: str, builtin: str) -> None:
    """See that the store here is the one that the submitting side means: what it has put there must be there.

    Args:
        store: as `XTLRAY_STORE` has it.
        builtin: key of something that lies in it.

    Raises:
        RequestError: it is another one, or not mounted here.
        StoreError: it is out of reach, or refuses.
    """
    from xtlray.store import Store
    from xtlray.urls import absolute, path_of

    url = absolute(store)
    there = path_of(url).joinpath(builtin).exists() if url.startswith("file://") else Store(url).exists(builtin)
    if not there:
        raise RequestError(
            "The store of that name is another one here than on the submitting side",
            got=f"{store}, without {builtin}",
            fix="mount the folder on every node by the same name, or use an object store"
            if url.startswith("file://")
            else "check AWS_ENDPOINT_URL on both sides",
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
