"""A log is shown once, in whole lines, through whatever cuts its connection."""

from __future__ import annotations

import pytest

from tests.fake_dashboard import Dashboard
from xtlray.errors import UnknownNameError, WorkError
from xtlray.submit import follow as module
from xtlray.submit.follow import follow
from xtlray.submit.jobs import Job, Jobs

LOG = "first line\nsecond line äöü\n" + "".join(f"line {n}\n" for n in range(30)) + "the end, without a line's"


@pytest.fixture
def jobs(dashboard: Dashboard, no_cluster: pytest.MonkeyPatch) -> Jobs:
    no_cluster.setattr(module, "SHORTEST", 0.01)
    no_cluster.setattr(module, "LONGEST", 0.02)
    dashboard.log = LOG
    dashboard.add("a")
    return Jobs.at(dashboard.url)


def shown(jobs: Jobs, patience: float = 5) -> tuple[Job, list[str]]:
    written: list[str] = []
    return follow(jobs, "a", written.append, patience), written


def test_a_log_to_its_end(jobs: Jobs) -> None:
    ended, written = shown(jobs)
    assert "".join(written) == LOG + "\n"
    assert all(text.endswith("\n") for text in written)
    assert (ended.status, ended.code) == ("succeeded", 0)


def test_the_jobs_own_exit_code(jobs: Jobs, dashboard: Dashboard) -> None:
    dashboard.ends = ("FAILED", 3)
    assert shown(jobs)[0].code == 3


@pytest.mark.parametrize("cuts", [[0], [5], [11], [12, 12, 40], [40, 5, 60], [len(LOG)]])
def test_a_connection_that_is_cut(cuts: list[int], jobs: Jobs, dashboard: Dashboard) -> None:
    dashboard.cuts = cuts
    ended, written = shown(jobs)
    assert "".join(written) == LOG + "\n"
    assert ended.status == "succeeded"


def test_a_log_that_ends_before_its_job(jobs: Jobs, dashboard: Dashboard) -> None:
    """As where the part of the cluster that reads it was started anew."""
    dashboard.ends = ("RUNNING", None)
    with pytest.raises(WorkError, match=r"could not be followed.*itself may go on.*xtlray jobs logs a --follow"):
        shown(jobs, patience=0.1)


def test_a_cluster_that_has_gone_is_waited_for_and_it_is_said(
    jobs: Jobs, dashboard: Dashboard, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAID_AFTER", 0.0)
    dashboard.cuts = [20] * 3
    assert shown(jobs)[0].code == 0
    assert "waited for" in caplog.text
    assert "is back" in caplog.text

    jobs.client._address = "http://127.0.0.1:1"
    monkeypatch.setattr(jobs, "get", lambda job: None)
    with pytest.raises(WorkError, match="could not be followed"):
        shown(jobs, patience=0.1)


def test_a_head_that_was_started_anew_knows_nothing(
    jobs: Jobs, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard.cuts = [20]
    monkeypatch.setattr(jobs, "find", lambda job: None)
    monkeypatch.setattr(jobs, "get", lambda job: None)
    with pytest.raises(WorkError, match=r"does not know the job any more.*submit the job again"):
        shown(jobs)


def test_a_job_that_is_not_there(jobs: Jobs) -> None:
    with pytest.raises(UnknownNameError):
        follow(jobs, "b", print)


def test_a_secret_is_not_shown_though_it_comes_in_pieces(
    jobs: Jobs, dashboard: Dashboard, no_aws: pytest.MonkeyPatch
) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn+FEMI")
    dashboard.log = "it is wJalr/XUtn+FEMI, they say\nwJalr/XUtn+FEMI"
    assert "".join(shown(jobs)[1]) == "it is ***, they say\n***\n"
