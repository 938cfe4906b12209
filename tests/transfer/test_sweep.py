"""In which order trials begin, and what a sweep makes of errors; trials are run in the tests of the pipeline."""

from __future__ import annotations

from importlib.util import module_from_spec
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.execution import class_cache

from xtlray.errors import MissingKeyError, RequestError, StoreError, StoreGoneError, WorkError
from xtlray.transfer.sweep import TrialActor, _InOrder, _keep_keys_at_home, is_of_the_store


@pytest.mark.parametrize(("kind", "expected"), [
    (StoreError, True),
    (StoreGoneError, True),  # or an outage would leave a record that the trial has failed, for good
    (MissingKeyError, True),
    (WorkError, False),
    (RequestError, False),
])  # fmt: skip
def test_a_failure_of_the_store_is_not_one_of_the_trial(kind: type[Exception], expected: bool) -> None:
    assert is_of_the_store(f"{kind.__module__}.{kind.__name__}: out of reach for 120 s") is expected


def test_a_process_that_died_is_not_the_stores_doing() -> None:
    assert not is_of_the_store("")


STATES = ("TERMINATED", "RUNNING", "PENDING", "PENDING", "PENDING")


def waiting() -> list[Any]:
    return [
        SimpleNamespace(status=status, number=n, is_finished=lambda status=status: status == "TERMINATED")
        for n, status in enumerate(STATES)
    ]


@pytest.mark.parametrize(("has_process", "started", "expected"), [
    ({}, set(), 2),
    ({2: "a", 3: "b"}, set(), 2),  # asked for, and there is no room for them yet: one that becomes free is taken
    ({2: "a", 3: "b"}, {"a"}, 3),  # the process of 2 is starting
    ({2: "a", 3: "b"}, {"a", "b"}, 4),
    ({2: "a", 3: "b", 4: "c"}, {"a", "b", "c"}, None),
])  # fmt: skip
def test_a_trial_whose_process_starts_is_left_to_it(
    has_process: dict[int, str], started: set[str], expected: int | None
) -> None:
    controller = SimpleNamespace(
        _trial_to_actor=SimpleNamespace(get=lambda trial: has_process.get(trial.number)),
        _actor_manager=SimpleNamespace(is_actor_started=lambda process: process in started),
    )
    scheduler = _InOrder()
    for trial in waiting():
        scheduler.on_trial_add(None, trial)
    chosen = scheduler.choose_trial_to_run(SimpleNamespace(_tune_controller=controller))
    assert getattr(chosen, "number", None) == expected


def test_a_trial_that_is_tried_again_waits_behind_the_others() -> None:
    scheduler, trials = _InOrder(), waiting()
    for trial in (*trials, trials[2]):
        scheduler.on_trial_add(None, trial)
    assert [trial.number for trial in scheduler.unfinished] == [0, 1, 3, 4, 2]


def test_no_key_of_the_store_goes_into_what_ray_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = class_cache.__spec__
    as_it_comes = module_from_spec(spec)  # a sweep in this process has changed the one that is in use
    spec.loader.exec_module(as_it_comes)
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", as_it_comes.ENV_VARS_TO_PROPAGATE)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "canary")

    def environment() -> dict[str, str]:
        actor = class_cache._ActorClassCache().get(TrialActor)
        return dict(actor._default_options["runtime_env"]["env_vars"])

    assert "canary" in environment().values()  # Tune's own way
    _keep_keys_at_home()
    assert "canary" not in environment().values()
