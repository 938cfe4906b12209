"""Jobs of kind bench: each benchmark has settings of its own, and they are checked as all settings are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from xtlray.bench.bench import Bench, Place
from xtlray.errors import RequestError, UnknownNameError
from xtlray.kinds.bench import BENCHES, BenchSettings, execute, get_bench
from xtlray.kinds.kind import Context, Resolved
from xtlray.runs import new_attempt, open_run
from xtlray.settings import Settings
from xtlray.store import Store


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_is_complete(name: str) -> None:
    found = get_bench(name)
    assert isinstance(found, Bench)
    assert issubclass(found.settings, Settings)
    assert {"bench", "dataset", "repeats"} <= set(found.settings.model_fields)


def test_settings_are_those_of_the_bench_that_is_named() -> None:
    job = {"dataset": ["demo/x"], "repeats": 3}
    loading = BenchSettings.parse({"bench": "loading", **job}, "job.yaml")
    pretrain = BenchSettings.parse({"bench": "pretrain", **job}, "job.yaml")
    assert type(loading) is get_bench("loading").settings
    assert type(pretrain) is get_bench("pretrain").settings
    assert loading.repeats == pretrain.repeats == 3
    with pytest.raises(RequestError, match="stream_rows"):
        BenchSettings.parse({"bench": "loading", **job, "stream_rows": 5}, "job.yaml")


def test_a_bench_that_is_not_named_or_not_known() -> None:
    with pytest.raises(RequestError, match="'bench' is missing"):
        BenchSettings.parse({"dataset": ["demo/x"]}, "job.yaml")
    with pytest.raises(UnknownNameError, match="pretrain"):
        BenchSettings.parse({"bench": "pretraining"}, "job.yaml")


def test_while_it_measures_that_is_what_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = new_attempt(store, open_run(store, "b", {"kind": "bench", "name": "b"}), {})
    told: list[str] = []

    def measure(place: Place, settings: Any) -> dict[str, Any]:
        told.append(attempt.progress.note(1).doing)
        return {"figure": 1.0}

    monkeypatch.setattr("xtlray.kinds.bench.get_bench", lambda name: Bench(Settings, measure))
    job = Resolved("bench", "b", SimpleNamespace(bench="loading"), {}, {})  # type: ignore[arg-type]
    outcome = execute(Context(store, attempt, None, lambda text: None), job)  # type: ignore[arg-type]
    assert told == ["measuring"]
    assert store.get_json(f"{attempt.folder}/bench.json") == outcome.extra["bench"] == {"figure": 1.0}
