"""The pretraining benchmark: its ratios, and all of it in miniature on a Ray of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xtlray.bench.bench import Place
from xtlray.bench.pretrain import SCRATCH, PretrainBenchSettings, _ratios, copy_dataset, measure
from xtlray.cli.main import main
from xtlray.data.dataset import open_dataset
from xtlray.errors import RequestError
from xtlray.store import Store

KEYS = [
    "matrix_tflops",
    "bare_rows_per_s",
    "bare_over_matrix",
    "train1_over_bare",
    "train2_over_train1",
    "job_batch_over_matrix",
    "first_step_s",
    "peak_rss_mb",
    "stream_over_resident",
]
JOB = str(Path(__file__).resolve().parents[2] / "jobs" / "bench" / "pretrain.yaml")
SMALL = {
    "dataset": "demo/formation_enthalpy",
    "net": "{name: elemnet, hidden: [16]}",
    "epochs": 2,
    "batches": "[512, 1024]",
    "stretch": 2048,
    "sizes": "[64]",
    "repeats": 1,
    "stream_rows": 70_000,
    "stream_steps": 4,
}


def runs(bare: float, train1: float, train2: float) -> dict[str, dict[str, Any]]:
    rates = {"bare": bare, "train1": train1, "train2": train2}
    return {way: {"rows_per_s": rate, "peak_rss_mb": rate} for way, rate in rates.items()}


def test_ratios_are_of_each_round() -> None:
    """A machine that is half as fast in one round has the same ratios in it."""
    found = _ratios([runs(100, 90, 72), runs(50, 45, 36), runs(100, 50, 50)])
    assert found["train1_over_bare"] == pytest.approx(0.9)
    assert found["train2_over_train1"] == pytest.approx(0.8)
    assert found["peak_rss_mb"] == 90  # of training workers


def test_what_was_not_measured_has_no_ratio() -> None:
    alone = {way: run for way, run in runs(100, 90, 0).items() if way != "train2"}
    assert _ratios([alone])["train2_over_train1"] is None


def test_a_batch_that_is_too_large(store: Store) -> None:
    tiny.dataset(store, "user/gap")
    place = Place(store, "runs/r/attempts/1", lambda: None, lambda text: None)
    settings = PretrainBenchSettings.parse({"bench": "pretrain", "dataset": "user/gap", "epochs": 2}, "test")
    with pytest.raises(RequestError, match="8192"):
        measure(place, settings)


def test_a_copied_dataset_is_that_dataset(store: Store, tmp_path: Path) -> None:
    tiny.dataset(store, "user/gap", values=range(len(tiny.FORMULAS)))
    dataset = tiny.dataset(store, "user/gap")  # a second version, which the name means now
    to = Store.open(str(tmp_path / "copy"))
    copy_dataset(dataset, to)
    assert open_dataset(to, "user/gap").card == dataset.card
    assert len(to.children("datasets/user/gap")) == 2  # the version, and the log of what the name means


@pytest.mark.ray
def test_all_of_it(tmp_path: Path, local_ray: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    assert main(["run", JOB, *sets, "--store", str(tmp_path), "--json", "--quiet"]) == 0
    answer = json.loads(capsys.readouterr().out)
    found = answer["bench"]
    assert json.loads(Path(answer["bench_file"]).read_text()) == found
    assert Path(answer["bench_file"]).parent.name == str(answer["attempt"])
    assert all(found[key] > 0 for key in KEYS)
    assert [each["batch"] for each in found["batches"]] == [512, 1024]
    assert found["bare_rows_per_s"] == max(each["rows_per_s"] for each in found["batches"])
    over = found["bare_rows_per_s"] * found["flop_per_row"] / (found["matrix_tflops"] * 1e12)
    assert found["bare_over_matrix"] == pytest.approx(over)
    assert [run["way"] for run in found["runs"]] == ["bare", "Ray Train, 1 worker", "Ray Train, 2 workers"]
    assert [each["loader"] for each in found["stream"]] == ["resident", "streaming"]
    assert not list(tmp_path.rglob(SCRATCH))  # what it wrote to measure is gone
