"""The whole job in miniature, on a Ray of our own: pretrain, sweep, publish, rank, predict; then what goes wrong.

One net of a few thousand weights, two epochs, two targets, four methods and their ensemble, two seeds.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import xtlray
from tests import tiny
from xtlray.cli.main import main
from xtlray.data.overlap import among, trained_keys
from xtlray.leaderboard.fold import COLUMNS
from xtlray.records import TrialRecord
from xtlray.registry.aliases import alias_history
from xtlray.store import Store

pytestmark = pytest.mark.ray

NET = {"name": "elemnet", "hidden": [32, 16]}
TARGETS = ["demo/molar_volume", "demo/work_function"]
REGRESSORS = {"quick": {"ridge": "all"}}
METHODS = ["base", "sc-dl-ef", "tl-finetune", "tl-ml-featextr", "ensemble"]
PRETRAIN = {"dataset": "demo/formation_enthalpy", "net": NET, "epochs": 2, "model": "tiny-source"}
PIPELINE = {
    "kind": "pipeline",
    "name": "tiny",
    "pretrain": PRETRAIN,
    "transfer": {"targets": TARGETS, "net": NET, "seeds": 2, "methods": METHODS, "regressors": REGRESSORS},
}


@dataclass(frozen=True)
class Said:
    """What a command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Workplace:
    """A folder with a store in it, and the program to use on it."""

    folder: Path

    @property
    def store(self) -> Store:
        return Store.open(str(self.folder / "store"))

    def xtlray(self, *words: Any) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*map(str, words), "--store", str(self.folder / "store")])
        return Said(code, out.getvalue(), err.getvalue())

    def run(self, job: dict[str, Any], *words: Any) -> Said:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        return self.xtlray("run", path, "--json", *words)


@pytest.fixture
def work(tmp_path: Path, local_ray: Any) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, local_ray: Any) -> tuple[Workplace, Said]:
    """The pipeline, run once, and what it answered."""
    work = Workplace(tmp_path_factory.mktemp("pipeline"))
    return work, work.run(PIPELINE)


# --- the whole job ---------------------------------------------------------------------------------------------------


def test_a_run_answers_with_what_it_made(done: tuple[Workplace, Said]) -> None:
    _, said = done
    assert said.code == 0, said.err
    assert list(said.json) == ["run", "status", "attempt", "models", "seconds"]
    assert (said.json["status"], said.json["attempt"]) == ("done", 1)
    assert said.json["models"] == ["tiny-source@1", "demo/molar_volume@1", "demo/work_function@1"]
    assert said.json["run"].startswith("tiny-")
    assert "epoch 2/2" in said.err
    assert "trial 16/16" in said.err  # of each target: four methods with two folds held out


def test_its_leaderboard(done: tuple[Workplace, Said]) -> None:
    work, said = done
    rows = work.xtlray("leaderboard", "--json").json
    assert [tuple(row) for row in rows] == [COLUMNS] * 10
    assert {(row["target"], row["method"]) for row in rows} == {(t, m) for t in TARGETS for m in METHODS}
    for row in rows:
        assert (row["status"], row["error"], row["run"]) == ("ok", None, said.json["run"])
        assert row["source"] == ("tiny-source@1" if row["method"].startswith("tl-") else None) or _ensemble(row)
        assert row["seeds"] == 2
        assert 0 < row["test_mae"] < 10 * row["base_mae"]
        assert row["rows_train"] > row["rows_val"] >= 10 <= row["rows_test"]
    for target in TARGETS:
        mine = [row for row in rows if row["target"] == target]
        assert [row["val_mae"] for row in mine] == sorted(row["val_mae"] for row in mine)
        assert [row["model"] for row in mine] == [f"{target}@1", None, None, None, None]  # the best by validation


def _ensemble(row: dict[str, Any]) -> bool:
    """Whether it is one, which has a source if a member has."""
    return row["method"] == "ensemble" and row["source"] in (None, "tiny-source@1")


def test_its_models_are_whole_and_predict(done: tuple[Workplace, Said]) -> None:
    work, said = done
    for model in said.json["models"]:
        assert work.xtlray("models", "verify", model, "--json").json["status"] == "ok"
    frame = xtlray.load("demo/molar_volume@best", work.store).predict(["TiAl3", "NiAl"])
    shown = work.xtlray("predict", "demo/molar_volume@best", "TiAl3", "NiAl", "--json").json
    assert frame["value"].tolist() == [row["value"] for row in shown]
    assert all(0 < value < 100 for value in frame["value"])  # cm³/mol
    assert (frame["lower"] < frame["value"]).all()
    assert (frame["value"] < frame["upper"]).all()

    card = work.xtlray("models", "show", "tiny-source", "--json").json
    assert set(card["metrics"]) == {"val", "test"}
    assert [entry["epoch"] for entry in card["history"]] == [1, 2]
    assert card["job"]["pretrain"]["epochs"] == 2
    assert card["aliases"]["best"][0]["reason"] == "first"
    assert [entry["version"] for entry in alias_history(work.store, "demo/work_function", "best")] == [1]


def test_its_records_hold_no_test_figure(done: tuple[Workplace, Said]) -> None:
    work, said = done
    keys = work.store.list(f"runs/{said.json['run']}/trials")
    records = [TrialRecord.read(work.store.get_json(key), key) for key in keys]
    assert len(records) == 16
    assert {record.status for record in records} == {"ok"}
    assert not any("test" in name for key in keys for name in work.store.get_json(key))


def test_what_it_needs_no_more_is_cleared_away(done: tuple[Workplace, Said]) -> None:
    work, said = done
    keys = work.store.list(f"runs/{said.json['run']}")
    assert not [key for key in keys if "/checkpoints/" in key or "/members/" in key]
    assert [key for key in keys if key.endswith("/log.txt")]
    assert work.store.exists(f"reports/{said.json['run']}/index.html")


def test_it_is_done_and_says_so_quickly(done: tuple[Workplace, Said]) -> None:
    work, said = done
    started = time.monotonic()
    again = work.run(PIPELINE, "--set", "pretrain.workers=2")  # another number of workers is the same run
    assert time.monotonic() - started < 5
    assert (again.code, again.json) == (0, said.json)
    assert "is done already" in again.err


def test_transfer_from_its_model_without_a_job_file(done: tuple[Workplace, Said]) -> None:
    """A user's own file, with a row whose element no net can take; and a second version of a model."""
    work, said = done
    path = work.folder / "mine.csv"
    rows = [f"{text},{len(text)}.{i}" for i, text in enumerate([*tiny.FORMULAS, "HeO", "ArO"])]
    path.write_text("\n".join(["formula,hardness", *rows]))
    words = ["--target", path, "demo/molar_volume", "--unit", "GPa", "--method", "base", "tl-ml-featextr"]
    answer = work.xtlray("transfer", "--source", "tiny-source", *words, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["models"] == ["demo/molar_volume@2", "user/mine@1"]
    assert "element that the input cannot hold" in answer.err
    (row,) = work.xtlray("predict", "user/mine", "LiO", "--json").json
    assert row["unit"] == "GPa"
    boards = work.xtlray("leaderboard", "--target", "demo/molar_volume", "--json").json
    assert {row["run"] for row in boards} == {said.json["run"], answer.json["run"]}


def test_several_properties_at_once_and_the_head_of_the_target_s_unit(work: Workplace) -> None:
    datasets = ["demo/formation_enthalpy", "demo/bulk_modulus"]
    job = {
        "kind": "pipeline",
        "name": "two",
        "pretrain": {**PRETRAIN, "dataset": datasets, "model": "two"},
        "transfer": {"targets": ["demo/shear_modulus", "demo/work_function"], "seeds": 1, "methods": ["tl-finetune"]},
    }
    said = work.run(job)
    assert said.code == 0, said.err
    card = work.xtlray("models", "show", "two", "--json").json
    assert [one["name"] for one in card["properties"]] == datasets
    assert all(one["metrics"]["test"]["mae"] > 0 for one in card["properties"])
    assert card["properties"][1]["rows_train"] < card["properties"][0]["rows_train"]
    assert [len(entry["vals"]) for entry in card["history"]] == [2, 2]
    (row,) = work.xtlray("predict", "two", "TiAl3", "--property", "bulk_modulus", "--json").json
    assert (row["unit"], 0 < row["value"] < 500) == ("GPa", True)

    keys = work.store.list(f"runs/{said.json['run']}/trials")
    records = [TrialRecord.read(work.store.get_json(key), key) for key in keys]
    assert {record.target: record.config["head"] for record in records} == {
        "demo/shear_modulus": "demo/bulk_modulus",  # GPa as well
        "demo/work_function": "demo/formation_enthalpy",  # no source has its unit
    }
    for model in said.json["models"][1:]:
        (member,) = work.xtlray("models", "show", model, "--json").json["members"]
        assert len(member["scaler"]["mean"]) == 1


def test_a_source_that_has_not_met_what_its_target_tests_on(work: Workplace) -> None:
    """Read as a stream; without the setting it would have met some of the test rows."""
    source = tiny.dataset(work.store, "user/source")
    target = tiny.dataset(work.store, "user/target", sides=["test" if i % 4 else "train" for i in range(84)])
    assert among(target.rows("test").compositions, trained_keys(source)).any()
    first = {**PRETRAIN, "dataset": "user/source", "loader": "streaming", "exclude_target_compositions": True}
    second = {"targets": ["user/target"], "seeds": 1, "methods": ["tl-ml-featextr"], "regressors": REGRESSORS}
    said = work.run({"kind": "pipeline", "name": "unmet", "pretrain": first, "transfer": second})
    assert said.code == 0, said.err
    assert "validation rows that user/target tests on" in said.err
    (row,) = work.xtlray("leaderboard", "--json").json
    assert (row["status"], row["rows_test"], row["rows_test_pretrained"]) == ("ok", 63, 0)
    card = work.xtlray("models", "show", "tiny-source", "--json").json
    assert 0 < card["properties"][0]["rows_train"] < source.card.splits["train"]
    assert [entry["rows"] for entry in card["history"]] == [card["properties"][0]["rows_train"]] * 2
    assert "without_test_compositions_of: [user/target]" in work.xtlray("models", "show", "tiny-source").out


def test_a_learning_curve(work: Workplace) -> None:
    """Error against training rows, each point from its draws, and a picture of it."""
    job = {"kind": "learning_curve", "name": "curve", "targets": "demo/work_function", "net": NET, "fewest": 20}
    said = work.run({**job, "points": 2, "repeats": 2, "methods": ["base", "sc-ml-ef"], "regressors": REGRESSORS})
    assert said.code == 0, said.err
    points = {(point["method"], point["rows"]): point for point in said.json["points"]}
    assert {method: sorted(n for m, n in points if m == method) for method in ("base", "sc-ml-ef")} == {
        method: [20, 144] for method in ("base", "sc-ml-ef")
    }
    assert [points[("sc-ml-ef", rows)]["draws"] for rows in (20, 144)] == [2, 1]
    assert points[("sc-ml-ef", 144)]["test_mae"] < points[("sc-ml-ef", 20)]["test_mae"]
    folder = f"runs/{said.json['run']}/attempts/1"
    assert work.store.get_json(f"{folder}/curve.json")["points"] == said.json["points"]
    assert work.store.exists(f"{folder}/curve.svg")
    assert work.xtlray("leaderboard", "--json").json == []  # models of a few rows are no results


# --- workers ---------------------------------------------------------------------------------------------------------


def test_two_workers_walk_the_path_of_one(work: Workplace) -> None:
    curves = []
    for workers in (1, 2):
        job = {"kind": "pretrain", "name": f"by-{workers}", **PRETRAIN, "model": f"by-{workers}"}
        said = work.run(job, "--set", "precision=float32", "--set", f"workers={workers}")
        assert said.code == 0, said.err
        card = work.xtlray("models", "show", f"by-{workers}", "--json").json
        curves.append([value for entry in card["history"] for value in (entry["loss"], entry["val"])])
        curves[-1].append(card["metrics"]["test"]["mae"])
    assert len(curves[0]) == 5
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)

    job = {"kind": "pretrain", "name": "streamed", **PRETRAIN, "model": "streamed", "loader": "streaming"}
    said = work.run(job, "--set", "workers=2")
    assert said.code == 0, said.err
    card = work.xtlray("models", "show", "streamed", "--json").json
    assert [entry["rows"] for entry in card["history"]] == [16165, 16165]  # every training row, once an epoch
    assert card["metrics"]["test"]["mae"] == pytest.approx(curves[0][-1], rel=0.15)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_pretraining_that_diverges_says_so(work: Workplace) -> None:
    said = work.run({"kind": "pretrain", "name": "wild", **PRETRAIN}, "--set", "lr=1.0e+30")
    assert (said.code, said.out) == (1, "")
    assert "diverged" in said.err
    assert "epoch 1, learning rate" in said.err
    assert work.store.list("models") == []


def test_targets_that_cannot_be_modelled_do_not_end_the_sweep(work: Workplace) -> None:
    tiny.dataset(work.store, "user/noble", formulas=("He2O", "NeO", "ArO", "He3O", "ArO2"))
    tiny.dataset(work.store, "user/huge", values=[1.7e308 - i for i in range(len(tiny.FORMULAS))])
    job = {"kind": "transfer", "name": "sweep", "targets": ["user/*", "demo/work_function"], "net": NET, "seeds": 1}
    said = work.run(job, "--set", "methods=[base, sc-dl-ef]")
    assert (said.code, said.json["status"]) == (1, "failed")
    assert said.json["models"] == ["demo/work_function@1"]
    assert "user/noble has no model" in said.err
    assert "user/huge has no model" in said.err
    rows = work.xtlray("leaderboard", "--json").json
    status = {(row["target"], row["method"]): row["status"] for row in rows}
    assert status[("demo/work_function", "base")] == status[("demo/work_function", "sc-dl-ef")] == "ok"
    assert status[("user/huge", "base")] == status[("user/huge", "sc-dl-ef")] == "failed"
    assert all(row["error"] for row in rows if row["status"] == "failed")
    again = work.run(job, "--set", "methods=[base, sc-dl-ef]")
    assert (again.code, again.json["attempt"]) == (1, 1)


@pytest.mark.parametrize(
    ("job", "change"),
    [
        ({"kind": "pretrain", **PRETRAIN}, "workers=64"),
        ({"kind": "transfer", "targets": TARGETS, "methods": ["base"]}, "cpus_per_trial=64"),
    ],
)
def test_what_fits_on_no_cluster_is_refused(work: Workplace, job: dict[str, Any], change: str) -> None:
    said = work.run({"name": "big", **job}, "--set", change)
    assert (said.code, said.out) == (2, "")
    assert "too small" in said.err


def test_an_attempt_goes_on_where_an_earlier_one_stood(work: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by Ctrl-C after the trials: the next attempt runs none of them again."""
    job = {"kind": "transfer", "name": "cut", "targets": TARGETS, "methods": ["base"], "seeds": 2}

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("xtlray.transfer.campaign.score", interrupted)
        said = work.run(job)
    assert said.code == 130
    assert "To go on, give the same command again" in said.err
    before = {key: work.store.get(key) for key in work.store.list("runs") if "/trials/" in key}
    assert len(before) == 4

    said = work.run(job)
    assert (said.code, said.json["attempt"]) == (0, 2)
    assert {key: work.store.get(key) for key in work.store.list("runs") if "/trials/" in key} == before
    assert "4 of 4 trials have their record already" in said.err
