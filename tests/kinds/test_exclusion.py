"""Jobs that pretrain without what the targets test on: what they amount to, and what the source then has met."""

from __future__ import annotations

from typing import Any

import pytest

from tests import tiny
from xtlray.data.dataset import Dataset
from xtlray.data.overlap import among, keys_tested_on, rows_among
from xtlray.errors import RequestError, UnknownNameError
from xtlray.kinds import estimate, get_kind
from xtlray.kinds.kind import Resolved
from xtlray.kinds.runner import override, resolve_job
from xtlray.pipeline import _source
from xtlray.runs import run_id
from xtlray.store import Store

PRETRAIN: dict[str, Any] = {"dataset": "user/source", "net": tiny.NET, "epochs": 1}
JOB = {"kind": "pretrain", "name": "p", **PRETRAIN}
PIPELINE = {
    "kind": "pipeline",
    "name": "p",
    "pretrain": {**PRETRAIN, "exclude_target_compositions": True},
    "transfer": {"targets": ["target/*"]},
}


@pytest.fixture
def datasets(store: Store) -> list[Dataset]:
    """A source, and two targets that test on compositions of it."""
    sides = [["test" if i % 4 == n else "train" for i in range(len(tiny.FORMULAS))] for n in range(2)]
    targets = [tiny.dataset(store, f"target/{name}", sides=side) for name, side in zip("ab", sides, strict=True)]
    return [tiny.dataset(store, "user/source"), *targets]


def resolved(store: Store, job: dict[str, Any], *changes: str) -> Resolved:
    return resolve_job(store, override(job, changes), "job.yaml", lambda text: None)


def identifier(store: Store, job: dict[str, Any], *changes: str) -> str:
    found = resolved(store, job, *changes)
    return run_id(found.name, found.identity)


def test_patterns_become_names_and_hashes(store: Store, datasets: list[Dataset]) -> None:
    job = resolved(store, JOB, "exclude_compositions_of=[target/*, target/a]")
    assert job.settings.exclude_compositions_of == ("target/a", "target/b")
    assert job.identity["exclude_compositions_of"] == ["target/a", "target/b"]
    assert job.identity["data"] == job.inputs["data"] == {each.card.name: each.card.data_hash for each in datasets}


def test_what_is_excluded_decides_the_run(store: Store, datasets: list[Dataset]) -> None:
    plain = identifier(store, JOB)
    assert identifier(store, JOB, "exclude_compositions_of=[]", "exclude_target_compositions=false") == plain
    one, both = (identifier(store, JOB, f"exclude_compositions_of={text}") for text in ("target/a", "target/*"))
    assert len({plain, one, both}) == 3
    tiny.dataset(store, "target/a")  # other rows of that name
    assert identifier(store, JOB) == plain
    assert identifier(store, JOB, "exclude_compositions_of=target/a") != one


def test_a_pipeline_excludes_its_targets(store: Store, datasets: list[Dataset]) -> None:
    job = resolved(store, PIPELINE)
    assert job.settings.pretrain.exclude_compositions_of == ("target/a", "target/b")
    assert job.inputs["pretrain"].inputs["data"] == {each.card.name: each.card.data_hash for each in datasets}
    said = ["pretrain.exclude_target_compositions=false", "pretrain.exclude_compositions_of=[target/b, target/a]"]
    assert identifier(store, PIPELINE) == identifier(store, PIPELINE, *said) != identifier(store, PIPELINE, said[0])
    more = resolved(store, PIPELINE, "pretrain.exclude_compositions_of=user/source", "transfer.targets=target/b")
    assert more.settings.pretrain.exclude_compositions_of == ("target/b", "user/source")


def test_a_pretraining_alone_has_no_targets(store: Store, datasets: list[Dataset]) -> None:
    with pytest.raises(RequestError, match=r"no targets.*kind pipeline.*exclude_compositions_of: \[jarvis/\*\]"):
        resolved(store, JOB, "exclude_target_compositions=true")


def test_datasets_that_are_not_here(store: Store, datasets: list[Dataset]) -> None:
    with pytest.raises(RequestError, match=r"dataset is known but not here.*jarvis/\*.*data fetch"):
        resolved(store, JOB, "exclude_compositions_of=jarvis/*")
    with pytest.raises(UnknownNameError, match="target/c"):
        resolved(store, JOB, "exclude_compositions_of=target/c")


def test_the_plan_counts_what_is_left(store: Store, datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_step_seconds", lambda net, batch, threads, outputs=1: 0.01)
    tiny.dataset(store, "user/more", tiny.FORMULAS[:50])
    rows = datasets[0].card.splits["train"]
    left_out = rows_among(datasets[0], "train", keys_tested_on(datasets[1:]))
    assert left_out > 0
    for changes in ([], ["dataset=[user/source, user/more]"]):
        assert "rows_left_out" not in get_kind("pretrain").plan(store, resolved(store, JOB, *changes))
        job = resolved(store, JOB, "exclude_compositions_of=target/*", *changes)
        plan = get_kind("pretrain").plan(store, job)
        assert plan["rows_per_epoch"] == rows - left_out
        assert plan["rows_left_out"]["user/source"] == left_out


def test_a_source_without_them_has_met_no_test_row(store: Store, datasets: list[Dataset]) -> None:
    """Nor has a model that was carried over from it, but for what it was trained on itself."""
    source, *targets = datasets
    with_all, without = tiny.model(store, "all", data=source), tiny.model(store, "without", "r-2", data=source,
                                                                          exclude=targets)  # fmt: skip
    one = tiny.model(store, "one", "r-3", data=source, exclude=targets[:1])
    later = tiny.model(store, "later", "r-4", data=targets[0], source=without.card())

    def met(ref: Any) -> list[int]:
        seen = _source(store, ref).compositions
        assert seen is not None
        return [int(among(target.rows("test").compositions, seen).sum()) for target in targets]

    assert min(met(with_all)) > 0
    assert met(without) == [0, 0]
    assert met(one) == [0, met(with_all)[1]]
    assert met(later) == [0, len(targets[1].rows("test"))]  # the first target trains on what the second tests on
