"""`xtlray jobs`: what a cluster was sent, shown, followed and ended."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.cli.conftest import Said
from tests.fake_dashboard import Dashboard

Jobs = Callable[..., Said]


@pytest.fixture
def jobs(xtlray: Jobs, dashboard: Dashboard, no_cluster: pytest.MonkeyPatch) -> Jobs:
    """`xtlray jobs …` on the small cluster, which has a job that failed and one that runs."""
    no_cluster.setenv("RAY_API_SERVER_ADDRESS", dashboard.url)
    dashboard.add("demo-1", "FAILED", 1, xtlray_run="demo", xtlray_kind="pipeline", xtlray_store="s3://b")
    dashboard.add("demo-2", "RUNNING", None, xtlray_run="demo", xtlray_kind="pipeline", xtlray_store="s3://b")
    dashboard.log = "one\ntwo\n"
    return lambda *words: xtlray("jobs", *words)


def test_list(jobs: Jobs, dashboard: Dashboard) -> None:
    found = json.loads(jobs("list", "--json")[1])
    assert [(job["id"], job["status"], job["kind"], job["store"]) for job in found] == [
        ("demo-2", "running", "pipeline", "s3://b"),
        ("demo-1", "failed", "pipeline", "s3://b"),
    ]
    assert "demo-2" in jobs("list")[1]
    dashboard.jobs.clear()
    assert jobs("list")[1:] == ("", "no job was submitted to this cluster\n")


def test_show(jobs: Jobs) -> None:
    found = json.loads(jobs("show", "demo-1", "--json")[1])
    assert (found["status"], found["exit_code"], found["started"]) == ("failed", 1, "2023-11-14T22:13:20Z")
    code, out, err = jobs("show", "demo-3")
    assert (code, out) == (2, "")
    assert "There is no job of that name" in err
    assert "demo-2" in err


def test_the_address_can_be_given(xtlray: Jobs, dashboard: Dashboard) -> None:
    code, out, err = xtlray("jobs", "list")
    assert (code, out) == (2, "")
    assert "RAY_API_SERVER_ADDRESS" in err
    assert xtlray("jobs", "list", "--address", dashboard.url, "--json")[:2] == (0, "[]\n")


def test_logs(jobs: Jobs) -> None:
    assert jobs("logs", "demo-1")[:2] == (0, "one\ntwo\n")
    assert json.loads(jobs("logs", "demo-1", "--json")[1]) == {"id": "demo-1", "log": "one\ntwo\n"}
    assert jobs("logs", "demo-3")[0] == 2


def test_logs_that_are_followed(jobs: Jobs, dashboard: Dashboard) -> None:
    dashboard.ends = ("FAILED", 4)
    code, out, err = jobs("logs", "demo-2", "--follow")
    assert (code, out) == (4, "one\ntwo\n")
    assert err == "demo-2 has failed, exit code 4\n"
    code, out, err = jobs("logs", "demo-2", "--follow", "--json")
    assert (code, json.loads(out)["exit_code"]) == (4, 4)
    assert "one\ntwo\n" in err


def test_stop(jobs: Jobs, dashboard: Dashboard) -> None:
    code, out, err = jobs("stop", "demo-2")
    assert (code, out) == (0, "")
    assert "demo-2 was stopped" in err
    assert dashboard.jobs["demo-2"]["status"] == "STOPPED"
    assert jobs("stop", "demo-1")[2] == "demo-1 has failed, exit code 1\n"
    assert json.loads(jobs("stop", "demo-1", "--json")[1])["status"] == "failed"
