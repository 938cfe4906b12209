"""What is said of addresses where no cluster is, or one that does not want us: one error each, never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ray.dashboard.modules import dashboard_sdk

from tests.fake_dashboard import PAGE, Dashboard
from xtlray.errors import RequestError, UnknownNameError
from xtlray.scrub import scrub
from xtlray.submit import client as module
from xtlray.submit.client import Client, GoneError, RefusedError
from xtlray.submit.jobs import Jobs


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# --- nobody there ----------------------------------------------------------------------------------------------------


def test_nobody_listens(no_cluster: pytest.MonkeyPatch) -> None:
    with pytest.raises(GoneError, match=r"does not answer.*connection refused.*ssh -L 8265"):
        Client(f"http://127.0.0.1:{free_port()}")


def test_no_server_of_that_name(no_cluster: pytest.MonkeyPatch) -> None:
    with pytest.raises(GoneError, match="no server of that name is known"):
        Client("http://no-such-host.invalid:8265")


def test_who_does_not_answer_is_not_waited_for_long(no_cluster: pytest.MonkeyPatch) -> None:
    no_cluster.setattr(module, "ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(GoneError, match="no answer in time"):
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_tls_where_there_is_none(dashboard: Dashboard) -> None:
    with pytest.raises(GoneError, match="is it http://"):
        Client(dashboard.url.replace("http://", "https://"))


@pytest.mark.parametrize("text", [None, "not a certificate"])
def test_trusted_certificates_that_cannot_be_read(
    text: str | None, no_cluster: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if text:
        (tmp_path / "trusted.pem").write_text(text)
    no_cluster.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "trusted.pem"))
    with pytest.raises(RequestError, match=r"certificates that are trusted.*REQUESTS_CA_BUNDLE="):
        Client("https://127.0.0.1:1")


# --- somebody else ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", PAGE, None),
        (401, "text/html", PAGE, None),
        (404, "text/html", PAGE, None),
        (404, "text/plain", "not found", None),
        (200, "application/json", "[1]", None),
        (200, "application/json", '{"version": "1"}', None),
        (200, "text/plain", "hello", None),
    ],
)
def test_what_is_no_dashboard(answer: tuple[int, str, str, str | None], dashboard: Dashboard) -> None:
    dashboard.answers = [answer]
    with pytest.raises(RequestError, match="is no Ray dashboard") as caught:
        Client(dashboard.url)
    assert "doctype" not in str(caught.value)
    assert str(answer[0]) in str(caught.value)


def test_an_address_that_leads_elsewhere_is_not_followed(dashboard: Dashboard) -> None:
    dashboard.answers = [(302, "text/plain", "", "https://login.example.org/?next=x")]
    with pytest.raises(RequestError, match=r"leads elsewhere.*https://login\.example\.org"):
        Client(dashboard.url)
    assert len(dashboard.calls) == 1


def test_a_dashboard_that_is_out_of_order(dashboard: Dashboard) -> None:
    dashboard.answers = [(503, "text/plain", "no upstream", None)]
    with pytest.raises(GoneError, match="503"):
        Client(dashboard.url)


def test_the_given_address_counts_whatever_rays_variables_say(
    dashboard: Dashboard, no_cluster: pytest.MonkeyPatch
) -> None:
    no_cluster.setenv("RAY_API_SERVER_ADDRESS", "http://no-such-host.invalid:8265")
    no_cluster.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert Client(dashboard.url).where == dashboard.url


# --- the token -------------------------------------------------------------------------------------------------------


def test_without_a_token_it_is_said_where_to_put_it(dashboard: Dashboard) -> None:
    dashboard.token = "the-token-of-the-cluster"
    with pytest.raises(RequestError, match=r"asks for a token.*401, sent was none.*RAY_AUTH_TOKEN.*get-auth-token"):
        Client(dashboard.url)


def test_the_token_of_a_ray_of_ones_own_goes_to_no_cluster(
    dashboard: Dashboard, no_cluster: pytest.MonkeyPatch
) -> None:
    """As in a process in which `ray.init` was called: Ray's client then adds the token that it made."""
    no_cluster.setattr(dashboard_sdk, "get_auth_headers_if_auth_enabled", lambda _: {"authorization": "Bearer own"})
    dashboard.token = "the-token-of-the-cluster"
    with pytest.raises(RequestError, match=r"asks for a token.*401, sent was none"):
        Client(dashboard.url)


@pytest.mark.parametrize("mode", [None, "token"])
def test_the_token_is_looked_for_as_ray_does(
    mode: str | None, dashboard: Dashboard, tmp_path: Path, no_cluster: pytest.MonkeyPatch
) -> None:
    if mode:
        no_cluster.setenv("RAY_AUTH_MODE", mode)
    dashboard.token = "the-token-of-the-cluster"
    home = tmp_path / "home" / ".ray"
    home.mkdir(parents=True)
    (home / "auth_token").write_text("the-token-of-the-cluster\n")
    Client(dashboard.url)

    (tmp_path / "token").write_text("of-another-cluster")
    no_cluster.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(RequestError, match=r"refuses the token.*403.*RAY_AUTH_TOKEN_PATH=") as caught:
        Client(dashboard.url)
    assert "of-another-cluster" not in str(caught.value)

    no_cluster.setenv("RAY_AUTH_TOKEN", "the-token-of-the-cluster")
    Client(dashboard.url)
    assert scrub("it is the-token-of-the-cluster") == "it is ***"


def test_no_token_is_sent_where_that_is_turned_off(dashboard: Dashboard, no_cluster: pytest.MonkeyPatch) -> None:
    dashboard.token = "the-token-of-the-cluster"
    no_cluster.setenv("RAY_AUTH_MODE", "disabled")
    no_cluster.setenv("RAY_AUTH_TOKEN", "the-token-of-the-cluster")
    with pytest.raises(RequestError, match="sent was none"):
        Client(dashboard.url)


def test_a_file_of_the_token_that_is_not_there(no_cluster: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), "~nobody-of-that-name/token"):
        no_cluster.setenv("RAY_AUTH_TOKEN_PATH", path)
        with pytest.raises(RequestError, match="file of the token cannot be read"):
            Client("http://127.0.0.1:1")


def test_where_there_should_be_a_token_and_is_none(no_cluster: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_cluster.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(RequestError, match=r"no token for the cluster.*RAY_AUTH_MODE=token"):
        Client("http://127.0.0.1:1")
    (tmp_path / "token").write_text("\n")
    no_cluster.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(RequestError, match="token for the cluster is empty"):
        Client("http://127.0.0.1:1")


@pytest.mark.parametrize("token", ["…", "two-lines\nin-one-token", "a-tab\tin-it"])
def test_what_no_header_can_hold_is_no_token(token: str, no_cluster: pytest.MonkeyPatch) -> None:
    no_cluster.setenv("RAY_AUTH_TOKEN", token)
    with pytest.raises(RequestError, match=r"token for the cluster is none.*RAY_AUTH_TOKEN, not one line") as caught:
        Client("http://127.0.0.1:1")
    assert token.split()[0] not in str(caught.value)


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_latest_first_without_their_variables(dashboard: Dashboard) -> None:
    dashboard.add("demo-1", "FAILED", 3, xtlray_run="demo", xtlray_store="s3://b", xtlray_kind="pipeline")
    dashboard.add("raysubmit_x")
    found = Jobs.at(dashboard.url).all()
    assert [(job.id, job.status, job.active, job.code) for job in found] == [
        ("raysubmit_x", "running", True, 1),
        ("demo-1", "failed", False, 3),
    ]
    shown = found[1].as_json()
    assert (shown["run"], shown["store"], shown["kind"], shown["seconds"]) == ("demo", "s3://b", "pipeline", 60.0)
    assert "hunter2" not in str([job.as_json() for job in found])


def test_what_is_told_of_a_job_holds_no_secret_of_ours(dashboard: Dashboard, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn+FEMI")
    dashboard.add("a", "FAILED", 1)
    dashboard.jobs["a"] |= {"message": "its log ends with: wJalr/XUtn+FEMI", "entrypoint": "key=wJalr/XUtn+FEMI run"}
    found = Jobs.at(dashboard.url).get("a").as_json()
    assert (found["message"], found["entrypoint"]) == ("its log ends with: ***", "key=*** run")


def test_a_job_that_is_not_there(dashboard: Dashboard) -> None:
    dashboard.add("demo-1a2b3c4d-1")
    jobs = Jobs.at(dashboard.url)
    assert jobs.find("demo-1a2b3c4d-2") is None
    with pytest.raises(UnknownNameError, match=r"nearest known name is demo-1a2b3c4d-1.*xtlray jobs list"):
        jobs.get("demo-1a2b3c4d-2")
    for name in ("../../version", "", ".", ".."):
        with pytest.raises(UnknownNameError):
            jobs.stop(name)


def test_what_the_cluster_says_is_told_in_a_line(dashboard: Dashboard) -> None:
    jobs = Jobs.at(dashboard.url)
    dashboard.answers = [(500, "text/plain", 'Traceback:\n  File "x"\nValueError: no agent\n.', None)]
    with pytest.raises(RefusedError, match=r"500, ValueError: no agent") as caught:
        jobs.find("x")
    assert caught.value.status == 500


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (2, 2), (130, 130), (-9, 137), (None, 1)])
def test_exit_codes_are_those_that_a_shell_tells(code: int | None, expected: int, dashboard: Dashboard) -> None:
    dashboard.add("a", "SUCCEEDED" if code == 0 else "FAILED", code)
    assert Jobs.at(dashboard.url).get("a").code == expected


def test_an_archive_is_sent_once(dashboard: Dashboard) -> None:
    jobs = Jobs.at(dashboard.url)
    uri, sent = jobs.upload(b"PK")
    assert sent
    assert jobs.upload(b"PK") == (uri, False)
    assert jobs.upload(b"PK2")[0] != uri
    assert dashboard.packages[uri.removeprefix("gcs://")] == b"PK"


def test_stop_waits_for_the_end(dashboard: Dashboard) -> None:
    dashboard.add("a")
    jobs = Jobs.at(dashboard.url)
    assert jobs.stop("a").status == "stopped"
    posts = [call for call in dashboard.calls if call[0] == "POST"]
    assert jobs.stop("a").status == "stopped"  # it has ended: nothing is asked for
    assert [call for call in dashboard.calls if call[0] == "POST"] == posts
