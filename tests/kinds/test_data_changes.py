"""A dataset that changes between two attempts of a job: another run, and the one that was left is found."""

from __future__ import annotations

from tests import tiny
from xtlray.kinds.runner import override, resolve_job
from xtlray.runs import Run, left_behind, open_run
from xtlray.store import Store


def test_a_job_whose_rows_were_ingested_anew_is_told_from_another_job(store: Store) -> None:
    job = {
        "kind": "pretrain",
        "name": "p",
        "dataset": ["user/gap", "user/other"],
        "net": tiny.NET,
        "epochs": 2,
        "lr": 1e-5,
    }
    for name in ("user/gap", "user/other"):
        tiny.dataset(store, name)

    def start(*changes: str) -> Run:
        found = resolve_job(store, override(job, changes), "job.yaml", print)
        return open_run(store, found.name, found.identity)

    first = start()
    assert left_behind(store, first, "p") == {}
    tiny.dataset(store, "user/other", formulas=(*tiny.FORMULAS, "LiO9"))
    assert left_behind(store, start(), "p") == {first.id: ["user/other"]}
    assert left_behind(store, start("epochs=3"), "p") == {}  # another job
    store.create_json(f"{first.folder}/outcome.json", {"status": "done"})
    assert left_behind(store, start(), "p") == {}  # finished before
