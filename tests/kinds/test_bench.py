"""Jobs of kind bench: each benchmark has settings of its own, and they are checked as all settings are."""

from __future__ import annotations

import pytest

from xtlray.bench.bench import Bench
from xtlray.errors import RequestError, UnknownNameError
from xtlray.kinds.bench import BENCHES, BenchSettings, get_bench
from xtlray.settings import Settings


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
