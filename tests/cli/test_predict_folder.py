"""`xtlray predict` at scale: what asks for a folder of parts, what is said of it, and the exit code."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests import tiny
from tests.cli.conftest import Said
from tests.data.serial import Serial
from xtlray.registry.at_scale import predict_folder
from xtlray.store import Store


@pytest.fixture(autouse=True)
def here(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library with user/gap, three files of formulas in the folder `in`, and no Ray: this process does the work."""
    tiny.model(store)
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_text("formula,n\nLiO,1\nXx2O,2\n")
    pd.DataFrame({"formula": ["NaCl"]}).to_parquet(tmp_path / "in" / "c.parquet")
    monkeypatch.chdir(tmp_path)

    def predict(store: Store, model: str, wanted: str | None, inputs: Any, output: str, session: Any) -> Any:
        return predict_folder(store, model, wanted, inputs, output, Serial())

    monkeypatch.setattr("xtlray.pipeline.predict", predict)
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "rows"),
    [
        (["in"], 5),
        (["in/*.csv"], 4),
        (["in/a.csv"], 2),
        (["in/c.parquet"], 1),
        (["in/a.csv", "--input", "in/c.parquet"], 3),
        (["in/a.csv", "in/b.csv", "in/c.parquet"], 5),  # a pattern as the shell resolves it
        (["file://{}/in/b.csv"], 2),
    ],
)
@pytest.mark.parametrize("output", ["out/", "new/out/", "there", "file://{}/out"])
def test_into_a_folder(xtlray: Callable[..., Said], here: Path, inputs: list[str], rows: int, output: str) -> None:
    (here / "there").mkdir()
    words = [word.format(here) for word in ("predict", "user/gap@1", "--input", *inputs, "--output", output)]
    code, out, err = xtlray(*words, "--json")
    said = json.loads(out)
    assert (code, said["rows"], said["model"], said["not_read"]) == (0, rows, "user/gap@1", [])
    folder = here / output.removeprefix("file://{}/")
    assert len(pd.read_parquet(folder)) == rows == sum(len(pd.read_parquet(part)) for part in folder.glob("*.parquet"))
    assert ("could not be answered" in err) == (said["unanswered"] > 0)
    assert xtlray(*words)[0] == 0  # complete, and so again


def test_what_is_printed(xtlray: Callable[..., Said]) -> None:
    code, out, err = xtlray("predict", "user/gap", "--input", "in", "--output", "out/")
    assert code == 0
    assert "user/gap@1" in out
    assert "user/gap is user/gap@1" in err
    assert "2 of 5 formulas could not be answered; `warning` says why" in err


def test_files_that_cannot_be_read_are_an_error_after_the_others_are_done(
    xtlray: Callable[..., Said], here: Path
) -> None:
    (here / "in" / "empty.csv").write_text("")
    (here / "in" / "other.csv").write_text("x,y\n1,2\n")
    for _ in range(2):
        code, out, err = xtlray("predict", "user/gap@1", "--input", "in", "--output", "out/", "--json")
        said = json.loads(out)
        assert (code, said["rows"], said["files"]) == (1, 5, 3)
        assert [Path(name).name for name in said["not_read"]] == ["empty.csv", "other.csv"]
        assert "2 of 5 input files could not be read; all others are done" in err
        assert "The file is empty" in err
        assert "No column is plainly that of the formulas" in err
        assert "Traceback" not in err
    assert len(pd.read_parquet(here / "out")) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "in"], "no --output"),
        (["--input", "in/*.csv", "--output", "out.csv"], "a folder of Parquet files.*--output out.csv"),
        (["--input", "s3://bucket/x.csv", "--output", "out.parquet"], "a folder of Parquet files"),
        (["--input", "in/a.csv", "--output", "s3://bucket/out.csv"], "a folder of Parquet files"),
        (["--input", "in", "LiO", "--output", "out/"], "Got: both"),
        (["--input", "none/", "--output", "out/"], "no such input"),
        (["--input", "no*.csv", "--output", "out/"], "no such input"),
        (["--input", "in/a.csv", "--output", "in/"], "in the folder of the output"),
        (["--input", "in/a.csv", "--output", "ftp://out/"], "scheme that is not supported.*or another option"),
        (["--input", "in/a.csv", "--output", "in/b.csv/"], "cannot be opened.*or another option"),
        (["--input", "in/a.csv", "--output", "out"], "kind is not known.*a folder of parts, by a slash at its end"),
        (["--input", "", "--output", "out/"], "An input has no name"),
        (["--input", "in", "--output", "out/", "--property", "x"], "no property of user/gap@1"),
    ],
)
def test_requests_that_are_refused(xtlray: Callable[..., Said], here: Path, words: list[str], message: str) -> None:
    code, out, err = xtlray("predict", "user/gap@1", *words)
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert "Traceback" not in err
    assert sorted(path.name for path in (here / "in").iterdir()) == ["a.csv", "b.csv", "c.parquet"]
    assert not list(here.glob("out*/*.parquet"))


def test_another_model_in_the_same_folder(xtlray: Callable[..., Said], store: Store) -> None:
    tiny.model(store, run="run-00000002", members=[tiny.net_member(5)])
    words = ("--input", "in", "--output", "out/")
    assert xtlray("predict", "user/gap@1", *words)[0] == 0
    code, out, err = xtlray("predict", "user/gap@2", *words)
    assert (code, out) == (2, "")
    assert "it has those of user/gap@1, and this is user/gap@2" in err


def test_one_file_to_one_file_is_as_ever(xtlray: Callable[..., Said], here: Path) -> None:
    assert xtlray("predict", "user/gap@1", "--input", "in/a.csv", "--output", "out.csv")[0] == 0
    assert pd.read_csv(here / "out.csv")["n"].tolist() == [1, 2]
    code, out, _ = xtlray("predict", "user/gap@1", "--input", "in/a.csv", "--json")
    assert (code, [row["formula"] for row in json.loads(out)]) == (0, ["LiO", "Xx2O"])
    assert not (here / "out").exists()


def test_a_large_file_as_a_whole_is_remarked_upon(
    xtlray: Callable[..., Said], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", "user/gap@1", "--input", "in/a.csv", "--output", "out.csv")
    assert "read as a whole" not in xtlray(*words)[2]
    monkeypatch.setattr("xtlray.cli.predict._LARGE", 10)
    code, _, err = xtlray(*words)
    assert code == 0
    assert "in/a.csv is large and read as a whole" in err


def test_what_sigterm_makes_of_it_says_how_to_go_on_too(
    xtlray: Callable[..., Said], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(*_: Any) -> Any:
        with suppress(KeyboardInterrupt):  # as a library may that has its own way out
            os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("the executor was shut down")

    monkeypatch.setattr("xtlray.pipeline.predict", predict)
    code, out, err = xtlray("predict", "user/gap@1", "--input", "in", "--output", "out/")
    assert (code, out, err.splitlines()[-1]) == (143, "", "terminated")
    assert "To go on, give the same command again" in err
