"""A job runs once: whoever submits it how often, and whether or not the answers arrive."""

from __future__ import annotations

import io
import json
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fake_dashboard import Dashboard
from xtlray import provenance
from xtlray.errors import RequestError, WorkError
from xtlray.ray_session import RAY_ENVIRONMENT
from xtlray.store import Store
from xtlray.submit import submission
from xtlray.submit.client import GoneError, RefusedError
from xtlray.submit.jobs import Jobs
from xtlray.submit.reach import Reach
from xtlray.submit.submission import Order, Submitted, latest, submit

RUN = "demo-1a2b3c4d"


@pytest.fixture
def jobs(dashboard: Dashboard, no_cluster: pytest.MonkeyPatch) -> Jobs:
    no_cluster.setattr(submission, "_PAUSE", 0.01)
    return Jobs.at(dashboard.url)


def order(store: Store, **more: Any) -> Order:
    assert store.local_path is not None
    job = yaml.safe_dump({"kind": "dataset", "name": "demo", "generator": "miedema-alloys"})
    return Order(**{"run": RUN, "kind": "dataset", "job": job, "reach": Reach(str(store.local_path)), **more})


def send(jobs: Jobs, store: Store, **more: Any) -> Submitted:
    return submit(jobs, order(store, **more), store, lambda text: None)


def known(dashboard: Dashboard) -> dict[str, str]:
    return {name: job["status"] for name, job in dashboard.jobs.items()}


def unpacked(dashboard: Dashboard, uri: str) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(dashboard.packages[uri.removeprefix("gcs://")]))
    return {name: archive.read(name) for name in archive.namelist()}


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_what_is_sent(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    said: list[str] = []
    found = submit(jobs, order(store), store, said.append)
    assert (found.job.id, found.job.status, found.fresh) == (f"{RUN}-1", "pending", True)

    (asked,) = dashboard.requests
    assert asked["entrypoint"] == f"exec sh start.sh run job.yaml --expect {RUN}"
    job = unpacked(dashboard, asked["runtime_env"]["working_dir"])
    assert set(job) == {"job.yaml", "start.sh", "submitted.json"}
    assert yaml.safe_load(job["job.yaml"])["generator"] == "miedema-alloys"
    stated = json.loads(job["submitted.json"])
    assert stated["packages"]["torch"]["version"] == metadata.version("torch")
    assert store.exists(stated["builtin"])
    (code,) = asked["runtime_env"]["py_modules"]
    assert "xtlray/cli/main.py" in unpacked(dashboard, code)

    sizes = [len(data) for data in dashboard.packages.values()]
    assert len(sizes) == 2
    assert sum(sizes) < 1_000_000
    assert [line.partition(":")[0] for line in said] == ["built-in datasets and models", "code", "job"]
    assert f"code: {max(sizes) / 1e3:.0f} KB, sent" in said


def test_what_is_there_is_not_sent_again(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    send(jobs, store)
    dashboard.jobs[f"{RUN}-1"]["status"] = "FAILED"
    said: list[str] = []
    submit(jobs, order(store), store, said.append)
    assert len(dashboard.packages) == 2
    assert all("already" in line for line in said)
    assert len(said) == 3


def test_another_job_sends_no_code_again(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    send(jobs, store)
    send(jobs, store, run="other-1a2b3c4d", job="kind: dataset")
    first, second = (asked["runtime_env"] for asked in dashboard.requests)
    assert first["py_modules"] == second["py_modules"]
    assert first["working_dir"] != second["working_dir"]


def test_variables_of_the_job(jobs: Jobs, dashboard: Dashboard, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: "abc-dirty")
    reach = Reach("s3://bucket/prefix", {"AWS_ENDPOINT_URL": "http://h", "AWS_REGION": "r"})
    send(jobs, store, reach=reach)
    variables = dashboard.requests[0]["runtime_env"]["env_vars"]
    assert variables["XTLRAY_STORE"] == "s3://bucket/prefix"
    assert variables["XTLRAY_BUILTIN"].startswith("s3://bucket/prefix/builtin/")
    assert (variables["AWS_ENDPOINT_URL"], variables["AWS_REGION"]) == ("http://h", "r")
    assert variables["XTLRAY_COMMIT"] == "abc-dirty"
    assert not set(variables) & set(RAY_ENVIRONMENT)  # those are set on the cluster; twice is refused by Ray


def test_no_key_travels(jobs: Jobs, dashboard: Dashboard, store: Store, no_aws: pytest.MonkeyPatch) -> None:
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIA-EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalr/XUtn+FEMI",
        "AWS_SESSION_TOKEN": "a-session-token",
        "RAY_AUTH_TOKEN": "token-of-the-cluster",
    }
    for name, value in secrets.items():
        no_aws.setenv(name, value)
    send(Jobs.at(dashboard.url), store)
    sent = json.dumps(dashboard.requests) + "".join(
        data.decode(errors="replace")
        for data in unpacked(dashboard, dashboard.requests[0]["runtime_env"]["working_dir"]).values()
    )
    assert not [name for name, value in secrets.items() if value in sent]


@pytest.mark.parametrize("place", ["job", "run"])
def test_a_secret_that_was_written_into_a_job_stays_here(
    place: str, jobs: Jobs, dashboard: Dashboard, store: Store, no_aws: pytest.MonkeyPatch
) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "wJalr-XUtn-FEMI")
    with pytest.raises(RequestError, match="A secret would be sent") as caught:
        send(jobs, store, **{place: "name: wJalr-XUtn-FEMI"})
    assert "wJalr" not in str(caught.value)
    assert dashboard.requests == []


def test_another_ray_is_told_of(dashboard: Dashboard, store: Store) -> None:
    dashboard.ray_version = "2.99.0"
    said: list[str] = []
    submit(Jobs.at(dashboard.url), order(store), store, said.append)
    assert said[0].startswith("the cluster's Ray is 2.99.0")


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
@pytest.mark.parametrize("again", [False, True])
def test_one_that_is_active_is_found(status: str, again: bool, jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    first = send(jobs, store)
    dashboard.jobs[first.job.id]["status"] = status
    calls = len(dashboard.calls)
    second = send(jobs, store, again=again)
    assert (second.job.id, second.fresh) == (first.job.id, False)
    assert dashboard.calls[calls:] == [("GET", "/api/jobs/")]


@pytest.mark.parametrize("status", ["STOPPED", "FAILED", "SUCCEEDED"])
def test_after_one_that_has_ended_the_next_number_is_taken(
    status: str, jobs: Jobs, dashboard: Dashboard, store: Store
) -> None:
    send(jobs, store)
    dashboard.jobs[f"{RUN}-1"]["status"] = status
    assert send(jobs, store, again=status == "SUCCEEDED").job.id == f"{RUN}-2"
    assert dashboard.requests[1]["entrypoint"].endswith(" --again") == (status == "SUCCEEDED")


def test_numbers_go_on_behind_gaps_and_other_names_do_not_count(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    for name in (f"{RUN}-2", f"{RUN}-10", f"{RUN}-x", f"{RUN}-011", f"other-{RUN}-20", f"{RUN}-3-40"):
        dashboard.add(name, "FAILED")
    assert send(jobs, store).job.id == f"{RUN}-11"


def test_the_same_run_on_another_store_is_another_job(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    dashboard.add(f"{RUN}-1", "RUNNING", xtlray_store="s3://elsewhere")
    found = send(jobs, store)
    assert (found.job.id, found.fresh) == (f"{RUN}-2", True)
    reach = order(store).reach
    assert [latest(jobs, RUN, each).id for each in (reach, Reach("s3://elsewhere"))] == [f"{RUN}-2", f"{RUN}-1"]  # type: ignore[union-attr]
    assert latest(jobs, RUN, Reach("s3://nowhere")) is None


def test_an_answer_that_was_lost(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    dashboard.lost = [True]
    found = send(jobs, store)
    assert (found.job.id, found.fresh) == (f"{RUN}-1", True)
    assert len(dashboard.requests) == 1


def test_a_request_that_was_lost(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    dashboard.lost = [False, False, True]
    assert send(jobs, store).job.id == f"{RUN}-1"
    assert known(dashboard) == {f"{RUN}-1": "PENDING"}


def test_a_cluster_that_does_not_come_back(
    jobs: Jobs, dashboard: Dashboard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "PATIENCE", 0.05)
    dashboard.lost = [False] * 1000
    with pytest.raises(GoneError):
        send(jobs, store)


def test_who_loses_a_race_finds_the_winners(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    dashboard.rivals = [{"name": f"{RUN}-1", "xtlray_store": str(store.local_path), "xtlray_nonce": "theirs"}]
    found = send(jobs, store)
    assert (found.job.id, found.fresh) == (f"{RUN}-1", False)
    assert dashboard.requests == []


def test_who_loses_a_race_to_another_store_takes_the_next_number(
    jobs: Jobs, dashboard: Dashboard, store: Store
) -> None:
    dashboard.rivals = [{"name": f"{RUN}-1", "xtlray_store": "s3://elsewhere", "xtlray_nonce": "theirs"}]
    found = send(jobs, store)
    assert (found.job.id, found.fresh) == (f"{RUN}-2", True)


def test_what_the_cluster_does_not_take(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    send(jobs, store, run="first-1a2b3c4d")  # so that nothing is left to be sent
    lists_and_packages = [(200, "application/json", "[]", None), *[(200, "text/plain", "", None)] * 2]
    dashboard.answers = [*lists_and_packages, (500, "text/plain", "No available agent to submit job", None)]
    with pytest.raises(RefusedError, match="No available agent"):
        send(jobs, store, run="second-1a2b3c4d")


def test_many_at_once_end(jobs: Jobs, dashboard: Dashboard, store: Store) -> None:
    dashboard.rivals = [{"name": f"{RUN}-{k}", "status": "FAILED"} for k in range(1, 50)]
    with pytest.raises(WorkError, match="by many at once"):
        send(jobs, store)


def test_it_does_not_matter_where_it_is_submitted_from(
    jobs: Jobs, dashboard: Dashboard, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    send(jobs, store)
    assert [path.name for path in tmp_path.iterdir() if path != store.local_path] == []
