"""`xtlray status`: what people read, what programs read, and what an unknown run is answered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from xtlray import status
from xtlray.progress import EVERY
from xtlray.runs import Attempt, new_attempt, open_run
from xtlray.store import Store

Said = tuple[int, str, str]


@pytest.fixture
def attempt(store: Store) -> Attempt:
    """A pretraining at its 12th epoch of 32, noted just now."""
    run = open_run(store, "oqmd", {"kind": "pretrain", "name": "oqmd"})
    begun = new_attempt(store, run, {"commit": "abc", "versions": {}, "hardware": "two cores"})
    begun.progress.begin("pretraining", "epochs", 32)
    begun.progress.tell(done=12, left_s=1200.0, rows_per_s=25_670.4)
    begun.progress.fail("a worker: it was cold")
    store.create_json(f"{begun.folder}/progress/1.json", begun.progress.note(EVERY, 0.93).as_json())
    return begun


def test_an_empty_store_is_said(xtlray: Callable[..., Said]) -> None:
    code, out, err = xtlray("status")
    assert (code, out) == (0, "")
    assert "no run has been started" in err
    assert json.loads(xtlray("status", "--json")[1]) == []


def test_a_line_for_each_run(xtlray: Callable[..., Said], attempt: Attempt) -> None:
    code, out, _ = xtlray("status")
    assert code == 0
    assert out.split("\n")[0].split() == ["run", "state", "attempt", "doing", "done", "failed", "left", "last_sign"]
    assert " ".join(out.split("\n")[2].split()).startswith(
        f"{attempt.run.id} running 1 pretraining 12/32 epochs 20 min of pretraining 20"
    )


def test_one_run_in_full(xtlray: Callable[..., Said], attempt: Attempt) -> None:
    code, out, err = xtlray("status", attempt.run.id)
    assert (code, err) == (0, "")
    lines = {" ".join(line.split()) for line in out.split("\n")}
    assert {"done 12/32 epochs", "rows/s 25670", "disk full 93%", "kind pretrain", "hardware two cores"} <= lines
    assert "left 20 min of pretraining" in lines  # of what a pipeline does after it, nothing is known yet
    assert "a worker: it was cold" in lines


def test_for_programs(xtlray: Callable[..., Said], attempt: Attempt) -> None:
    one = json.loads(xtlray("status", attempt.run.id, "--json")[1])
    assert (one["state"], one["done"], one["total"], one["unit"], one["kind"]) == (
        "running", 12, 32, "epochs", "pretrain"
    )  # fmt: skip
    (row,) = json.loads(xtlray("status", "--json")[1])
    assert row["run"] == attempt.run.id
    assert set(row) < set(one)
    header = xtlray("status", "--format", "csv")[1].split("\n")[0]
    assert header.startswith("run,state,attempt,last_sign")


def test_one_that_gives_no_sign_of_life(
    xtlray: Callable[..., Said], attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "now_of", lambda store: datetime.now(UTC) + timedelta(minutes=12))
    assert "no sign of life for 12 min" in xtlray("status")[1]
    _, out, err = xtlray("status", attempt.run.id)
    assert "no sign of life for 12 min" in out
    assert "give the same command again" in err


def test_an_unknown_run(xtlray: Callable[..., Said], attempt: Attempt) -> None:
    code, out, err = xtlray("status", attempt.run.id[:-1] + "x")
    assert (code, out) == (2, "")
    assert attempt.run.id in err
