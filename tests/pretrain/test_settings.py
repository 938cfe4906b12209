"""What a pretraining job may say, and what workers get on a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from xtlray.errors import RequestError
from xtlray.pretrain.settings import PretrainSettings
from xtlray.pretrain.trainer import Scale, scale_of

LEAST = {"dataset": "oqmd/formation_energy", "epochs": 30}


def settings(**changes: Any) -> PretrainSettings:
    return PretrainSettings.parse({**LEAST, **changes}, "job.yaml")


def test_what_is_left_out() -> None:
    found = settings()
    assert found.dataset == ("oqmd/formation_energy",)
    assert (found.net, found.batch, found.lr, found.seed) == ("elemnet", 512, 1e-3, 0)
    assert (found.precision, found.workers, found.gpus, found.model) == ("auto", "1", "auto", None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, (1, 1)), ("2", (2, 2)), (4, (4, 4)), ("1-4", (1, 4)), ("3-3", (3, 3)), ("2-16", (2, 16))],
)
def test_workers_are_a_number_or_a_range(given: Any, expected: tuple[int, int]) -> None:
    assert settings(workers=given).worker_range == expected


@pytest.mark.parametrize("given", [0, "0", -1, "x", "", "4-1", "1-", "-4", "1-4-8", 1.5, True, None, [1, 2], "0-4"])
def test_other_workers_are_refused(given: Any) -> None:
    with pytest.raises(RequestError, match=r"workers cannot be that.*1-4 \(elastic\)"):
        settings(workers=given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs cannot be that.*greater than 0"),
        ({"batch": -1}, "batch"),
        ({"lr": 0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": "fast"}, "lr"),
        ({"seed": -1}, "seed"),
        ({"dataset": []}, "dataset"),
        ({"gpus": "many"}, "gpus cannot be that"),
        ({"precision": "fp8"}, "precision"),
        ({"model": "UPPER"}, "model cannot be that.*lower-case"),
        ({"model": "a/b/c"}, "model"),
        ({"epoch": 3}, "there is no key 'epoch'.*Allowed: epochs"),
        ({"worker": 3}, "there is no key 'worker'.*Allowed: workers"),
    ],
)
def test_impossible_values_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        settings(**changes)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RequestError, match="the key 'epochs' is missing"):
        PretrainSettings.parse({"dataset": "a/b"}, "job.yaml")


def test_resources_do_not_decide_the_result() -> None:
    assert settings(workers=4, gpus=1, cpus_per_worker=2).identity() == settings().identity()
    assert not {"workers", "gpus", "cpus_per_worker"} & set(settings().identity())
    assert settings(epochs=31).identity() != settings().identity()


def test_a_job_without_exclusions_is_the_one_of_before_there_were() -> None:
    """No key of them stands in its identity, and so the run id is the same."""
    none = settings(exclude_compositions_of=[], exclude_target_compositions=False)
    assert none.identity() == none.model_dump(include=set(none.identity()), mode="json") == settings().identity()
    assert not [key for key in (*none.identity(), *none.model_dump()) if "exclude" in key]
    some = settings(exclude_compositions_of="jarvis/*")
    assert some.identity() == {**settings().identity(), "exclude_compositions_of": ["jarvis/*"]}
    assert PretrainSettings.parse(some.model_dump(mode="json"), "job.yaml") == some


@pytest.mark.parametrize(
    ("changes", "cluster", "expected"),
    [
        ({}, {"CPU": 2.0}, Scale(1, 1, 2, 0)),
        ({"workers": 2}, {"CPU": 2.0}, Scale(2, 2, 1, 0)),
        ({"workers": 2}, {"CPU": 9.0}, Scale(2, 2, 4, 0)),
        ({"workers": "1-4"}, {"CPU": 2.0}, Scale(1, 4, 1, 0)),
        ({"workers": 2}, {"CPU": 8.0, "GPU": 2.0}, Scale(2, 2, 4, 1)),
        ({"workers": 2}, {"CPU": 8.0, "GPU": 1.0}, Scale(2, 2, 4, 0)),  # one card for two: the CPU for both
        ({"workers": 2, "gpus": 0}, {"CPU": 8.0, "GPU": 2.0}, Scale(2, 2, 4, 0)),
        ({"workers": 2, "cpus_per_worker": 3}, {"CPU": 8.0}, Scale(2, 2, 3, 0)),
    ],
)
def test_what_a_worker_gets(changes: dict[str, Any], cluster: dict[str, float], expected: Scale) -> None:
    assert scale_of(settings(**changes), cluster) == expected


@pytest.mark.parametrize(
    ("changes", "cluster"),
    [
        ({"workers": 3}, {"CPU": 2.0}),
        ({"workers": "3-4"}, {"CPU": 2.0}),
        ({"cpus_per_worker": 4}, {"CPU": 2.0}),
        ({"gpus": 1}, {"CPU": 2.0}),
        ({"gpus": 2}, {"CPU": 2.0, "GPU": 1.0}),
        ({}, {}),
    ],
)
def test_a_cluster_that_is_too_small_is_named(changes: dict[str, Any], cluster: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=r"too small for the workers.*on \d+ cores and \d+ GPUs"):
        scale_of(settings(**changes), cluster)


@pytest.mark.parametrize(
    ("changes", "cluster", "expected"),
    [
        ({"gpus": 1, "cpus_per_worker": 8}, {}, Scale(1, 1, 8, 1)),  # a head without cores, and no worker yet
        ({"workers": 4}, {"CPU": 2.0}, Scale(4, 4, 1, 0)),
    ],
)
def test_a_cluster_that_grows_is_waited_for(
    changes: dict[str, Any], cluster: dict[str, float], expected: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XTLRAY_CLUSTER_GROWS", "1")
    assert scale_of(settings(**changes), cluster, 0) == expected


@pytest.mark.parametrize(("workers", "cpus"), [(1, 8), (2, 8), (4, 4)])
def test_a_workers_share_is_not_more_than_a_machine_has(workers: int, cpus: int) -> None:
    assert scale_of(settings(workers=workers), {"CPU": 16.0}, 8) == Scale(workers, workers, cpus, 0)
