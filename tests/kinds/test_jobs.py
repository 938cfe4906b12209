"""The job files that come with the project: each is complete, and those on built-in data can be planned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from xtlray import catalog
from xtlray.data.dataset import open_dataset
from xtlray.kinds import estimate, get_kind
from xtlray.kinds.runner import read_job, resolve_job, run_job
from xtlray.nn.nets import resolve_net
from xtlray.records import SPLITS
from xtlray.store import Store, builtin
from xtlray.transfer.methods import get_method

JOBS = Path(__file__).resolve().parents[2] / "jobs"
FILES = sorted(path.relative_to(JOBS).as_posix() for path in JOBS.rglob("*.yaml"))
BUILTIN = ["demo.yaml", "make_demo_data.yaml"]


def test_the_jobs_there_are() -> None:
    assert {*BUILTIN, "pretrain_oqmd.yaml", "transfer_quick.yaml"} <= set(FILES)
    assert {"bench/loading.yaml", "bench/pretrain.yaml", "bench/sweep.yaml"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_job_says_what_its_kind_knows(name: str) -> None:
    """Names of datasets, nets and methods are looked up, whether the data are here or not."""
    job = read_job(JOBS / name)
    kind = get_kind(job["kind"])
    settings = kind.settings.parse({k: v for k, v in job.items() if k not in ("kind", "name")}, name)
    for part in [settings, getattr(settings, "pretrain", None), getattr(settings, "transfer", None)]:
        targets = getattr(part, "targets", ()) if job["kind"] != "dataset" else ()
        for dataset in [*getattr(part, "dataset", ()), *targets]:
            catalog.find([dataset])
        for method in getattr(part, "trial_methods", ()):
            get_method(method)
        if hasattr(part, "net"):
            resolve_net(part.net)
    first_line = (JOBS / name).read_text().splitlines()[0]
    assert first_line.startswith("# ")


def test_the_jobs_of_one_kind_have_names_of_their_own() -> None:
    names = [read_job(JOBS / name)["name"] for name in FILES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", BUILTIN)
def test_jobs_on_built_in_data_can_be_planned(name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_step_seconds", lambda net, batch, threads, outputs=1: 0.01)
    job = resolve_job(store, read_job(JOBS / name), name, lambda text: None)
    plan = get_kind(job.kind).plan(store, job)
    assert store.list("") == []  # planning leaves nothing behind
    if name == "make_demo_data.yaml":
        assert sum(plan["rows"].values()) == 22_140
        return
    rows = open_dataset(store, "demo/formation_enthalpy").card.splits
    steps = -(-rows["train"] // 512)
    assert plan["pretrain"]["steps"] == job.settings.pretrain.epochs * steps
    assert plan["pretrain"]["weights"] == 4_631_361
    assert plan["pretrain"]["minutes_here"] == pytest.approx(
        (25 + 1.15 * 0.01 * plan["pretrain"]["steps"]) / 60, abs=0.06
    )
    arms = len(job.settings.transfer.targets) * 4
    assert plan["transfer"]["trials"] >= arms
    assert plan["transfer"]["disk_mb"] > 0


@pytest.mark.parametrize("name", BUILTIN)
def test_a_resolved_job_is_the_same_run(name: str, store: Store) -> None:
    """It is what travels to a cluster."""
    job = resolve_job(store, read_job(JOBS / name), name, lambda text: None)
    resolved = {"kind": job.kind, "name": job.name, **job.settings.model_dump(mode="json")}
    assert (
        resolve_job(store, yaml.safe_load(yaml.safe_dump(resolved)), name, lambda text: None).identity == job.identity
    )


def test_the_time_of_a_step_is_measured() -> None:
    seconds = estimate._step_seconds(b'{"name": "elemnet", "hidden": [4]}', 8, 1)
    assert 0 < seconds < 1


def test_the_job_makes_the_data_of_the_package(store: Store) -> None:
    """By the whole path: generator, ingest, split, hash."""
    job = resolve_job(store, read_job(JOBS / "make_demo_data.yaml"), "make_demo_data.yaml", lambda text: None)
    finished = run_job(store, job, False, lambda text: None)
    assert finished.extra["datasets"] == [name for name in sorted(catalog.datasets()) if name.startswith("demo/")]
    for name in finished.extra["datasets"]:
        made, packaged = open_dataset(store, name), open_dataset(builtin(), name)
        assert made.store is store
        assert made.card.splits == packaged.card.splits
        if made.card.data_hash != packaged.card.data_hash:  # another processor's math library may round a last digit
            for split in SPLITS:
                assert np.allclose(made.rows(split).y_B, packaged.rows(split).y_B, rtol=2e-4, atol=2e-4)
