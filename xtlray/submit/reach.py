"""What must be within reach, told before anything is sent: the cluster from here, the store from the cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from xtlray import credentials
from xtlray.errors import RequestError
from xtlray.store import DEFAULT_URL, ENVIRONMENT_VARIABLE
from xtlray.urls import absolute, expanded, path_of

log = logging.getLogger("xtlray.submit")
ADDRESS, RAY_ADDRESS = "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"  # variables of Ray's
_EXAMPLE = "http://HEAD:8265, the address of the cluster's dashboard"


@dataclass(frozen=True)
class Reach:
    """A store as the nodes of a cluster see it.

    Attributes:
        store: what `XTLRAY_STORE` is set to there.
        settings: variables that say where an object store is; never who we are to it.
    """

    store: str
    settings: dict[str, str] = field(default_factory=dict)


def jobs_address(given: str | None) -> str:
    """The address of a cluster's Jobs API: what was given, `$RAY_API_SERVER_ADDRESS`, or `$RAY_ADDRESS` if it is HTTP.

    Raises:
        RequestError: there is none, or it is not one.
    """
    text = given or os.environ.get(ADDRESS)
    if not text:
        text = os.environ.get(RAY_ADDRESS, "")
        if not text.startswith(("http://", "https://")):
            raise RequestError(
                "It is not said where the cluster is",
                got=f"{RAY_ADDRESS}={text}, which is not its dashboard" if text else None,
                fix=f"add --address, or set {ADDRESS}: {_EXAMPLE}",
            )
    if "@" in text:
        raise RequestError(
            "The cluster's address holds a name or a password", got="it is not repeated here", allowed=_EXAMPLE
        )
    if not _is_server(text):
        raise RequestError(
            "The cluster's address is not one", got=repr(text), allowed=_EXAMPLE, fix="correct --address"
        )
    scheme, _, rest = text.rstrip("/").partition("://")
    return f"{scheme.lower()}://{rest}"  # Ray takes any other spelling for the name of a module


def reachable_store(url: str | None, shared: Iterable[str], address: str) -> Reach:
    """The store as the cluster at `address` reaches it.

    Args:
        url: what `--store` said; by default `$XTLRAY_STORE`, else the folder that is used then.
        shared: folders that all nodes mount where this machine does.
        address: as `jobs_address` returns it.

    Raises:
        RequestError: it is a folder that is not in a shared one, or on a server that only this machine reaches.
    """
    text = url or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_URL
    checked = absolute(text)
    if checked.startswith("file://"):
        return Reach(_mounted(text, [_shared(each) for each in shared]))
    _named(checked)
    if not checked.startswith("s3://"):
        return Reach(checked)
    access = credentials.access()
    settings = {"AWS_REGION": access.region}
    if access.anonymous:
        settings["AWS_SKIP_SIGNATURE"] = "true"
    if access.endpoint:
        _check_endpoint(access.endpoint, address)
        settings["AWS_ENDPOINT_URL"] = access.endpoint
    return Reach(checked, settings)


def _mounted(text: str, shared: list[Path]) -> str:
    """The folder by the name that all nodes know it by."""
    folder = Path(os.path.abspath(path_of(text) if text.startswith("file://") else expanded(text)))
    for path in (folder, folder.resolve()):  # a link of this machine into what is shared means nothing elsewhere
        if any(path.is_relative_to(each) for each in shared):
            return _named(str(path))
    raise RequestError(
        "The cluster cannot reach the store",
        got=f"{folder}, a folder of this machine" + (f" outside of {', '.join(map(str, shared))}" if shared else ""),
        allowed="an object store, or a folder that all nodes mount by the same name (NFS, Lustre)",
        fix="set --store or XTLRAY_STORE to s3://bucket/prefix; or, if all nodes do mount it, add "
        f"--shared-path {folder.parent}",
    )


def _named(store: str) -> str:
    """A store that variables of the cluster cannot change: Ray puts them into what it is told to set."""
    if "$" in store:
        raise RequestError("The store cannot be named to a cluster", got=f"{store}, which holds a $")
    return store


def _shared(text: str) -> Path:
    path = Path(os.path.abspath(expanded(text)))
    if not text or not path.is_dir():
        raise RequestError(
            "There is no such shared folder here",
            got=str(path) if text else "an empty name",
            fix="give --shared-path the folder that this machine and all nodes mount by the same name",
        )
    return path


def _check_endpoint(endpoint: str, address: str) -> None:
    if not _is_loopback(endpoint):
        return
    if not _is_loopback(address):
        raise RequestError(
            "The cluster cannot reach the store's server",
            got=f"{endpoint}, which each machine takes for itself",
            fix="set AWS_ENDPOINT_URL to an address that the nodes reach too",
        )
    log.warning("the store's server %s is only reached by a cluster on this very machine", endpoint)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1", "0.0.0.0") or host.startswith("127.")


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        bare = not (parts.query or parts.fragment) and url.isprintable() and not any(map(str.isspace, url))
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and bare
    except ValueError:  # a port that is no number, half a bracket
        return False
