"""`xtlray submit`: what is refused before anything is sent, what is printed, and with which code it ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from tests.cli.conftest import Said
from tests.fake_dashboard import Dashboard
from xtlray.kinds.runner import read_job, resolve_job
from xtlray.runs import open_run, run_id
from xtlray.store import Store
from xtlray.submit import follow

JOB = {
    "kind": "transfer",
    "name": "small",
    "targets": ["user/*"],
    "methods": ["base", "tl-finetune"],
    "source": "other/gap",
    "net": {"name": "elemnet", "hidden": [8, 4]},
}
Submit = Callable[..., Said]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the dataset user/gap and the model other/gap."""
    store = Store.open(str(tmp_path / "store"))
    tiny.dataset(store)
    tiny.model(store, "other/gap", data=tiny.dataset(store, "other/gap"))
    return store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB))
    return path


@pytest.fixture
def submit(xtlray: Submit, dashboard: Dashboard, store: Store, file: Path) -> Submit:
    """Submits the job to the small cluster, which mounts the store's folder."""
    assert store.local_path is not None
    shared = ["--shared-path", store.local_path.parent]
    return lambda *words: xtlray("submit", file, "--address", dashboard.url, *shared, *words)


def run_of(store: Store, file: Path) -> str:
    job = resolve_job(store, read_job(file), "", lambda text: None)
    return run_id(job.name, job.identity)


def sent(dashboard: Dashboard, number: int = 0) -> dict[str, Any]:
    """The job file that a submission holds."""
    uri = dashboard.requests[number]["runtime_env"]["working_dir"]
    archive = zipfile.ZipFile(io.BytesIO(dashboard.packages[uri.removeprefix("gcs://")]))
    job: dict[str, Any] = yaml.safe_load(archive.read("job.yaml"))
    return job


# --- what is printed -------------------------------------------------------------------------------------------------


def test_the_id_is_the_result(submit: Submit, dashboard: Dashboard, store: Store, file: Path) -> None:
    code, out, err = submit()
    assert (code, out) == (0, f"{run_of(store, file)}-1\n")
    assert "code: " in err
    assert " KB, sent" in err
    assert f"xtlray jobs logs {out.strip()} --address {dashboard.url}" in err
    code, again, err = submit()
    assert (code, again) == (0, out)
    assert "is pending already, so it was not submitted again" in err
    assert len(dashboard.requests) == 1


def test_as_json(submit: Submit, store: Store, file: Path) -> None:
    code, out, _ = submit("--json")
    found = json.loads(out)
    assert code == 0
    assert (found["id"], found["run"], found["status"]) == (
        f"{run_of(store, file)}-1",
        run_of(store, file),
        "pending",
    )
    assert found["submitted"]
    assert not json.loads(submit("--json")[1])["submitted"]


def test_the_job_travels_resolved_and_is_the_same_run(
    submit: Submit, dashboard: Dashboard, store: Store, file: Path, tmp_path: Path
) -> None:
    """What its names mean is fixed when it is submitted, not when it starts."""
    submit("--set", "seeds=3")
    job = sent(dashboard)
    assert (job["targets"], job["source"], job["seeds"]) == (["user/gap"], ["other/gap@1"], 3)
    run = dashboard.requests[0]["metadata"]["xtlray_run"]
    tiny.model(store, "other/gap", run="other-00000000", data=tiny.dataset(store, "other/gap"))
    (tmp_path / "sent.yaml").write_text(yaml.safe_dump(job))
    assert run_of(store, tmp_path / "sent.yaml") == run
    assert run_of(store, file) != run


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_store_that_the_cluster_cannot_reach(
    xtlray: Submit, dashboard: Dashboard, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XTLRAY_STORE", str(tmp_path / "not-there"))
    code, out, err = xtlray("submit", file, "--address", dashboard.url)
    assert (code, out) == (2, "")
    assert "The cluster cannot reach the store" in err
    assert "--shared-path" in err
    assert dashboard.calls == []
    assert not (tmp_path / "not-there").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "seed=4"], "there is no key 'seed'"),
        (["--set", "targets=[user/gop]"], "user/gap"),
        (["--address", "10.0.0.1:6379"], "The cluster's address is not one"),
    ],
)
def test_wrong_requests_send_nothing(words: list[str], message: str, submit: Submit, dashboard: Dashboard) -> None:
    code, out, err = submit(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert dashboard.calls == []


def test_nobody_at_the_address(submit: Submit) -> None:
    code, out, err = submit("--address", "http://127.0.0.1:1")
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: The cluster does not answer")


# --- what is done already --------------------------------------------------------------------------------------------


def finish(store: Store, file: Path, status: str) -> None:
    job = resolve_job(store, read_job(file), "", lambda text: None)
    run = open_run(store, job.name, job.identity)
    outcome = {"status": status, "attempt": 1, "models": [], "notes": [], "extra": {}, "seconds": 1}
    store.create_json(f"{run.folder}/outcome.json", outcome)


def test_a_job_that_is_done_is_not_sent(submit: Submit, dashboard: Dashboard, store: Store, file: Path) -> None:
    name = submit()[1]
    dashboard.jobs[name.strip()]["status"] = "SUCCEEDED"
    finish(store, file, "done")
    code, out, err = submit()
    assert (code, out) == (0, name)
    assert "is done already (run it anew with --again)" in err
    assert len(dashboard.requests) == 1
    assert json.loads(submit("--json")[1])["status"] == "done"

    code, out, _ = submit("--again")
    assert out == name.replace("-1\n", "-2\n")
    assert dashboard.requests[1]["entrypoint"].endswith("--again")


def test_one_that_was_done_elsewhere_has_no_id_here(
    submit: Submit, dashboard: Dashboard, store: Store, file: Path
) -> None:
    finish(store, file, "failed")
    code, out, err = submit("--json")
    assert (code, json.loads(out)["id"], json.loads(out)["status"]) == (1, None, "failed")
    assert "has failed already" in err
    assert dashboard.requests == []


def test_a_benchmark_is_run_each_time(submit: Submit, dashboard: Dashboard, file: Path) -> None:
    file.write_text(yaml.safe_dump({"kind": "bench", "name": "b", "bench": "loading", "dataset": ["user/gap"]}))
    name = submit()[1]
    assert submit()[1] == name
    dashboard.jobs[name.strip()]["status"] = "SUCCEEDED"
    assert submit()[1] == name.replace("-1\n", "-2\n")


# --- following -------------------------------------------------------------------------------------------------------


def test_following_ends_with_the_jobs_own_code(submit: Submit, dashboard: Dashboard, store: Store, file: Path) -> None:
    dashboard.log, dashboard.ends = "working\nerror: it broke\n", ("FAILED", 3)
    code, out, err = submit("--follow")
    assert (code, out) == (3, f"{run_of(store, file)}-1\n")
    assert "working\nerror: it broke\n" in err
    assert "has failed, exit code 3" in err

    dashboard.ends = ("SUCCEEDED", 0)
    code, out, err = submit("--follow", "--json")
    assert (code, json.loads(out)["exit_code"]) == (0, 0)
    assert json.loads(out)["id"].endswith("-2")


def test_one_that_was_stopped_or_did_not_start(submit: Submit, dashboard: Dashboard) -> None:
    dashboard.ends = ("STOPPED", None)
    code, _, err = submit("--follow")
    assert code == 1
    assert "was stopped" in err
    dashboard.ends = ("FAILED", None)
    code, _, err = submit("--follow")
    assert code == 1
    assert "did not come to run" in err
    assert err.splitlines()[-1].startswith("error: ")


def test_ctrl_c_leaves_the_job_and_says_how_to_look_again(
    submit: Submit, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow, "follow", interrupted)
    code, out, err = submit("--follow")
    name = out.strip()
    assert code == 130
    assert f"xtlray jobs logs {name} --follow --address {dashboard.url}" in err
    assert f"xtlray jobs stop {name} --address {dashboard.url}" in err
    assert dashboard.jobs[name]["status"] == "PENDING"


@pytest.mark.parametrize("words", [["submit"], ["jobs"], ["jobs", "logs"]])
def test_help_imports_neither_torch_nor_ray(words: list[str]) -> None:
    slow = "{'ray', 'torch', 'aiohttp', 'obstore'}"
    code = f"import sys; from xtlray.cli.main import main; main(sys.argv[1:]); print({slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("set()\n"), done.stderr
    assert "--address" in done.stdout or words == ["jobs"]
