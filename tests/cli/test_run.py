"""`xtlray run`, `pretrain` and `transfer` up to the point where work begins: what job the words amount to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from xtlray.cli.main import main
from xtlray.kinds import estimate, runner
from xtlray.kinds.runner import Finished
from xtlray.store import Store

Said = tuple[int, str, str]
JOB = {
    "kind": "transfer",
    "name": "small",
    "targets": ["user/gap"],
    "methods": ["base", "sc-dl-ef"],
    "net": {"name": "elemnet", "hidden": [8, 4]},
    "seeds": 2,
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the dataset and the model user/gap."""
    store = Store.open(str(tmp_path / "store"))
    tiny.model(store)
    return store


@pytest.fixture
def xtlray(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs a command line on that store; steps are not timed."""
    monkeypatch.setenv("XTLRAY_STORE", str(store.local_path))
    monkeypatch.setattr(estimate, "_step_seconds", lambda net, batch, threads, outputs=1: 0.01)

    def run(*words: Any) -> Said:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB))
    return path


def planned(said: Said) -> dict[str, Any]:
    assert said[0] == 0, said[2]
    plan: dict[str, Any] = json.loads(said[1])
    return plan


def test_a_plan_as_json(xtlray: Callable[..., Said], file: Path, store: Store) -> None:
    found = planned(xtlray("run", file, "--dry-run", "--json", "--set", "seeds=4"))
    assert found["run"].startswith("small-")
    assert found["job"]["seeds"] == 4
    assert found["plan"]["targets"] == 1
    assert found["plan"]["trials"] == 4 + 4  # base and the net, each with four folds held out
    assert {"rows_train", "minutes_here", "disk_mb"} <= set(found["plan"])
    assert store.list("runs/small") == []


def test_a_plan_for_people_is_yaml(xtlray: Callable[..., Said], file: Path) -> None:
    code, out, _ = xtlray("run", file, "--dry-run")
    job, plan = (yaml.safe_load(text) for text in out.split("# what it would take"))
    assert code == 0
    assert (job["kind"], job["targets"], plan["targets"], plan["trials"]) == ("transfer", ["user/gap"], 1, 4)


def test_several_settings_take_effect_in_order(xtlray: Callable[..., Said], file: Path) -> None:
    found = planned(xtlray("run", file, "--set", "seeds=4", "--set", "seeds=5", "--dry-run", "--json"))
    assert found["job"]["seeds"] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "FILE", "--set", "seed=4"], "job.yaml: there is no key 'seed'. Got: seed: 4. Allowed: seeds"),
        (["run", "FILE", "--set", "seeds"], "--set takes KEY=VALUE"),
        (["run", "FILE", "--set", "targets=[user/gop]"], "user/gap"),
        (["run", "FILE", "--set", "methods=[tl-finetune]"], "needs a source"),
        (["run", "nothing.yaml"], "cannot be read"),
        (["run"], "JOB.yaml"),
        (["pretrain", "--dataset", "user/gap"], "--name"),
        (["pretrain", "--dataset", "user/gap", "--name", "A"], "A model's name"),
        (["pretrain", "--dataset", "user/gap", "--name", "builtin/a"], "belong to the package"),
        (["pretrain", "--dataset", "user/gap", "--name", "a", "--workers", "x"], "1-4 (elastic)"),
        (["transfer", "--source", "user/gap"], "--target"),
        (["transfer", "--source", "user/gop", "--target", "user/gap"], "user/gap"),
        (["transfer", "--target", "user/gap", "--method", "sc"], "no method of that name"),
        (["transfer", "--target", "none.csv", "--unit", "eV"], "There is no such file"),
    ],
)
def test_wrong_requests(xtlray: Callable[..., Said], file: Path, words: list[str], message: str) -> None:
    code, out, err = xtlray(*[file if word == "FILE" else word for word in words])
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_another_run_than_the_one_that_is_expected(xtlray: Callable[..., Said], file: Path, store: Store) -> None:
    run = planned(xtlray("run", file, "--dry-run", "--json"))["run"]
    assert planned(xtlray("run", file, "--expect", run, "--dry-run", "--json"))["run"] == run
    tiny.dataset(store, values=[1.0] * len(tiny.FORMULAS))
    code, out, err = xtlray("run", file, "--expect", run)
    assert (code, out) == (2, "")
    assert f"Allowed: {run}" in err
    assert "its data or its sources have changed" in err


# --- without a job file ----------------------------------------------------------------------------------------------


def test_pretraining_without_a_file(xtlray: Callable[..., Said]) -> None:
    words = ["--epochs", "3", "--workers", "1-2", "--lr", "0.01", "--set", "net={name: elemnet, hidden: [4]}"]
    found = planned(xtlray("pretrain", "--dataset", "user/gap", "--name", "my/net", *words, "--dry-run", "--json"))
    job = found["job"]
    assert (job["kind"], job["name"], job["model"], job["dataset"]) == ("pretrain", "my-net", "my/net", ["user/gap"])
    assert (job["epochs"], job["workers"], job["lr"], job["net"]["hidden"]) == (3, "1-2", 0.01, [4])


@pytest.mark.parametrize(
    "targets",
    [
        ["--target", "user/gap", "demo/molar_volume"],
        ["--target", "user/gap", "--target", "demo/molar_volume"],
        ["--target=user/gap", "demo/molar_volume"],
        ["--target", "user/*", "demo/molar*", "--json"],
    ],
)
def test_several_values_in_a_row(xtlray: Callable[..., Said], store: Store, targets: list[str]) -> None:
    tiny.model(store, "other/gap", data=tiny.dataset(store, "other/gap"))
    words = [*targets, "--method", "base", "tl-finetune", "--source", "other/gap@1", "--seeds", "2"]
    found = planned(xtlray("transfer", *words, "--dry-run", "--json"))
    assert found["job"]["targets"] == ["demo/molar_volume", "user/gap"]
    assert found["job"]["methods"] == ["base", "tl-finetune"]
    assert found["job"]["source"] == ["other/gap@1"]
    assert found["job"]["seeds"] == 2


def test_a_source_that_learned_from_the_target_is_refused(xtlray: Callable[..., Said]) -> None:
    code, out, err = xtlray("transfer", "--target", "user/gap", "--source", "user/gap@1", "--dry-run", "--json")
    assert (code, out) == (2, "")
    assert "user/gap@1 was trained on user/gap" in err


def test_a_file_as_target_is_ingested_first(xtlray: Callable[..., Said], tmp_path: Path, store: Store) -> None:
    path = tmp_path / "My Gaps.csv"
    path.write_text("formula,gap\n" + "".join(f"{text},{i}\n" for i, text in enumerate(tiny.FORMULAS)))
    words = ["transfer", "--method", "base", "--target", path, "--dry-run", "--json"]
    code, out, err = xtlray(*words)
    assert (code, out) == (2, "")
    assert "needs its unit" in err
    assert store.list("datasets/user/my-gaps") == []

    code, out, err = xtlray(*words, "--unit", "meV")
    assert json.loads(out)["job"]["targets"] == ["user/my-gaps"]
    assert f"is user/my-gaps: {len(tiny.FORMULAS)} of {len(tiny.FORMULAS)} rows kept" in err
    card = json.loads(xtlray("data", "show", "user/my-gaps", "--json")[1])
    assert (card["unit"], card["rows_kept"]) == ("meV", len(tiny.FORMULAS))


# --- what is said when it is done ------------------------------------------------------------------------------------


def ended(monkeypatch: pytest.MonkeyPatch, outcome: Finished | BaseException) -> None:
    def run_job(*_: Any) -> Finished:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(runner, "run_job", run_job)


def test_what_a_run_answers(xtlray: Callable[..., Said], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(monkeypatch, Finished("small-1", "done", 2, ["user/gap@2"], 61.26, ["a note"], {}))
    code, out, err = xtlray("run", file, "--json")
    assert (code, json.loads(out)) == (
        0,
        {"run": "small-1", "status": "done", "attempt": 2, "models": ["user/gap@2"], "seconds": 61.3},
    )
    assert "a note" in err
    code, out, err = xtlray("run", file)
    assert (code, out) == (0, "")
    assert "small-1: done, attempt 2, 1.0 minutes" in err
    assert "predict user/gap@best" in err


def test_learning_curves_are_shown_as_a_table(
    xtlray: Callable[..., Said], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def point(method: str, rows: int, error: float) -> dict[str, Any]:
        more = {"unit": "eV", "draws": 3, "rows_test": 9, "test_mae_spread": 0.1}
        return {"target": "user/gap", "method": method, "source": None, "rows": rows, "test_mae": error, **more}

    points = [point("base", 100, 3.5), point("base", 20, 4.5), point("sc-ml-ef", 20, 1.25)]
    ended(monkeypatch, Finished("small-1", "done", 1, [], 1.0, [], {"points": points, "plot_file": "here/curve.svg"}))
    code, out, err = xtlray("run", file)
    lines = [" ".join(line.split()[:6]) for line in out.splitlines() if "user/gap" in line]
    assert (code, lines) == (
        0,
        ["user/gap 20 sc-ml-ef 1.25 0.1 eV", "user/gap 20 base 4.5 0.1 eV", "user/gap 100 base 3.5 0.1 eV"],
    )
    assert "its picture: here/curve.svg" in err


def test_a_submitted_run_does_not_tell_where_its_program_lies(
    xtlray: Callable[..., Said], file: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    ended(monkeypatch, Finished("small-1", "done", 2, ["user/gap@2"], 61.26, [], {}))
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.argv", ["/somewhere/xtlray/cli/main.py"])
    assert "/somewhere/xtlray/cli/main.py predict user/gap@best" in xtlray("run", file)[2]
    monkeypatch.setenv("XTLRAY_BUILTIN", str(store.local_path))
    assert "\n  xtlray predict user/gap@best" in xtlray("run", file)[2]


def test_a_run_without_some_of_its_models_exits_1(
    xtlray: Callable[..., Said], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(monkeypatch, Finished("small-1", "failed", 1, [], 1.0, ["user/gap has no model"], {}))
    code, out, err = xtlray("run", file, "--json")
    assert (code, json.loads(out)["status"]) == (1, "failed")
    assert "user/gap has no model" in err


def test_a_run_that_is_stopped_says_how_to_go_on(
    xtlray: Callable[..., Said], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(monkeypatch, KeyboardInterrupt())
    code, out, err = xtlray("run", file)
    assert (code, out) == (130, "")
    assert "To go on, give the same command again" in err


def test_the_job_file_that_words_amount_to(xtlray: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    ended(monkeypatch, Finished("small-1", "done", 1, [], 1.0, [], {}))
    code, _, err = xtlray("transfer", "--target", "user/gap", "--method", "base", "--name", "mine")
    assert code == 0
    text = err.partition("# as a job file:\n")[2].partition("\n\n")[0]
    job = yaml.safe_load(text.partition("\nxtlray")[0])
    assert job == {"kind": "transfer", "name": "mine", "targets": ["user/gap"], "methods": ["base"]}
