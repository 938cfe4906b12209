"""The benchmark of predictions at scale, in miniature: every figure is there, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xtlray.bench.predicting import PredictingSettings
from xtlray.cli.main import main
from xtlray.kinds.runner import read_job
from xtlray.store import Store

JOB = Path(__file__).resolve().parents[2] / "jobs" / "bench" / "predict.yaml"
SMALL = {"dataset": "[demo/bulk_modulus]", "rows": 3000, "sample": 200, "repeats": 1}


def test_the_job_file_is_one_of_its() -> None:
    job = {key: value for key, value in read_job(JOB).items() if key not in ("kind", "name")}
    assert PredictingSettings.parse(job, str(JOB)).rows == 1_000_000


def test_all_figures(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A Ray of its own starts for it, as with the command that is measured."""
    words = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    code = main(["run", str(JOB), *words, "--store", store.url, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    bench = json.loads(said.out)["bench"]
    (model,) = bench["models"]
    assert (bench["rows"], model["model"], model["unanswered"]) == (3000, "builtin/oqmd", 3)
    for figures, name in ((bench, "parse"), (model, "net")):
        now, before = figures[f"{name}_rows_per_s"], figures[f"{name}_rows_per_s_before"]
        assert figures[f"{name}_ratio"] == pytest.approx(now / before)
        assert before > 0
    assert model["whole_rows_per_s"] == pytest.approx(3000 / model["whole_s"])
    assert model["net_difference"] < 1e-3
    assert not [key for key in store.list("runs") if "scratch" in key]
