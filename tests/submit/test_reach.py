"""Which address is a cluster's, and which store a cluster reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from xtlray.errors import RequestError
from xtlray.submit.reach import jobs_address, reachable_store

HEAD = "http://10.0.0.1:8265"

# --- the cluster -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "api", "ray", "expected"),
    [
        (HEAD, None, None, HEAD),
        (HEAD + "/", "http://other:8265", "http://third:8265", HEAD),
        (None, "http://other:8265", "http://third:8265", "http://other:8265"),
        (None, None, "https://third:8265/", "https://third:8265"),
        ("https://ray.example.org/cluster/", None, None, "https://ray.example.org/cluster"),
        ("http://[::1]:8265", None, None, "http://[::1]:8265"),
        ("HTTP://10.0.0.1:8265", None, None, HEAD),
    ],
)
def test_what_is_given_comes_first(
    given: str | None, api: str | None, ray: str | None, expected: str, no_cluster: pytest.MonkeyPatch
) -> None:
    for name, value in (("RAY_API_SERVER_ADDRESS", api), ("RAY_ADDRESS", ray)):
        if value:
            no_cluster.setenv(name, value)
    assert jobs_address(given) == expected


@pytest.mark.parametrize("ray", [None, "auto", "10.0.0.1:6379", "ray://10.0.0.1:10001"])
def test_an_address_that_is_no_dashboards_is_not_taken_from_the_environment(
    ray: str | None, no_cluster: pytest.MonkeyPatch
) -> None:
    if ray:
        no_cluster.setenv("RAY_ADDRESS", ray)
    with pytest.raises(RequestError, match=r"not said where the cluster is.*--address.*http://HEAD:8265"):
        jobs_address(None)


@pytest.mark.parametrize(
    "given",
    ["10.0.0.1:8265", "HEAD", "ray://h:10001", "http://", "http://h:port", "http://h:8265?x=1", "http://h h", "auto"],
)
def test_no_address(given: str, no_cluster: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="address is not one"):
        jobs_address(given)


def test_a_password_in_the_address_is_not_repeated(no_cluster: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="holds a name or a password") as caught:
        jobs_address("http://me:hunter2@head:8265")
    assert "hunter2" not in str(caught.value)


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", [None, "./here", "/data/store", "file:///data/store", "~/store", "~nobody-so-called/store"]
)
def test_a_folder_of_this_machine_is_refused_and_not_made(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XTLRAY_STORE", raising=False)
    with pytest.raises(RequestError, match=r"cannot reach the store.*s3://bucket/prefix.*--shared-path"):
        reachable_store(url, [], HEAD)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_all_nodes_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    found = reachable_store(str(shared / "store"), [str(tmp_path / "shared")], HEAD)
    assert (found.store, found.settings) == (str(shared / "store"), {})
    assert reachable_store((shared / "store").as_uri(), [str(shared)], HEAD) == found
    monkeypatch.setenv("XTLRAY_STORE", "shared/store")
    monkeypatch.chdir(tmp_path)
    assert reachable_store(None, ["shared"], HEAD) == found


def test_a_link_into_what_is_shared_is_named_as_the_nodes_know_it(tmp_path: Path) -> None:
    (tmp_path / "shared" / "store").mkdir(parents=True)
    (tmp_path / "mine").symlink_to(tmp_path / "shared" / "store")
    found = reachable_store(str(tmp_path / "mine"), [str(tmp_path / "shared")], HEAD)
    assert found.store == str((tmp_path / "shared" / "store").resolve())


def test_a_shared_folder_by_a_linked_name_keeps_it(tmp_path: Path) -> None:
    """On this machine it may lead elsewhere than on the nodes."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "shared").symlink_to(tmp_path / "disk")
    found = reachable_store(str(tmp_path / "shared" / "store"), [str(tmp_path / "shared")], HEAD)
    assert found.store == str(tmp_path / "shared" / "store")


@pytest.mark.parametrize("store", ["elsewhere/store", "shared-not/store", "shared/../store"])
def test_a_folder_outside_of_what_is_shared(store: str, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    with pytest.raises(RequestError, match=r"cannot reach the store.*outside of .*shared"):
        reachable_store(str(tmp_path / store), [str(tmp_path / "shared")], HEAD)


@pytest.mark.parametrize("shared", ["shared", "~nobody-so-called", ""])
def test_a_shared_folder_that_is_not_there(shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one is a variable that is not set, and not the folder that one happens to be in."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="no such shared folder"):
        reachable_store(str(tmp_path / "shared" / "store"), [shared], HEAD)


def test_a_store_that_would_be_another_one_on_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"holds a \$"):
        reachable_store(str(tmp_path / "$HOME"), [str(tmp_path)], HEAD)
    for url in ("s3://bucket/$USER", "gs://bucket/${USER}"):
        with pytest.raises(RequestError, match=r"holds a \$"):
            reachable_store(url, [], HEAD)


def test_where_an_object_store_is_travels_and_who_we_are_does_not(no_aws: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIA-EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "the-secret",
        "AWS_SESSION_TOKEN": "the-token",
        "AWS_ENDPOINT_URL": "https://s3.example.org:9000",
        "AWS_REGION": "eu-central-1",
    }.items():
        no_aws.setenv(name, value)
    found = reachable_store("s3://bucket/prefix/", [], HEAD)
    assert found.store == "s3://bucket/prefix"
    assert found.settings == {"AWS_ENDPOINT_URL": "https://s3.example.org:9000", "AWS_REGION": "eu-central-1"}


def test_that_requests_are_not_signed_travels(no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SKIP_SIGNATURE", "true")
    found = reachable_store("s3://bucket", [], HEAD)
    assert found.settings == {"AWS_SKIP_SIGNATURE": "true", "AWS_REGION": "us-east-1"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"])
def test_a_server_on_this_machine(host: str, no_aws: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    no_aws.setenv("AWS_SKIP_SIGNATURE", "true")
    no_aws.setenv("AWS_ENDPOINT_URL", f"http://{host}:9000")
    with pytest.raises(RequestError, match="each machine takes for itself"):
        reachable_store("s3://bucket", [], HEAD)
    assert reachable_store("s3://bucket", [], "http://127.0.0.1:8265").settings["AWS_ENDPOINT_URL"]
    assert "only reached by a cluster on this very machine" in caplog.text


def test_other_object_stores_and_what_is_none(no_aws: pytest.MonkeyPatch) -> None:
    assert reachable_store("gs://bucket/prefix", [], HEAD).settings == {}
    with pytest.raises(RequestError, match="scheme that is not supported"):
        reachable_store("http://bucket/prefix", [], HEAD)
