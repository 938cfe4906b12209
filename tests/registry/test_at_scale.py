"""A folder of predictions by a model of the library: the version is settled when the folder is begun."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest

from tests import tiny
from tests.data.serial import Killed, Serial
from xtlray import provenance
from xtlray.data import pieces
from xtlray.data.prediction_folder import Manifest
from xtlray.errors import RequestError, UnknownNameError
from xtlray.registry import golden
from xtlray.registry.at_scale import predict_folder
from xtlray.registry.model import load_model
from xtlray.registry.promotion import move_best
from xtlray.registry.versions import resolve
from xtlray.store import Store

FORMULAS = [*tiny.FORMULAS[:12], "Xx2O", "NaN"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of four rows."""
    monkeypatch.setattr(pieces, "ROWS", 4)


@pytest.fixture
def library(store: Store) -> Store:
    """Two versions of user/gap, the first of which is best."""
    data = tiny.dataset(store)
    move_best(store, tiny.model(store, data=data), 0.5, "s", "p")
    tiny.model(store, run="run-00000002", members=[tiny.net_member(7)], data=data)
    return store


@pytest.fixture
def table(tmp_path: Path) -> str:
    pd.DataFrame({"formula": FORMULAS, "row": range(len(FORMULAS))}).to_csv(tmp_path / "in.csv", index=False)
    return str(tmp_path / "in.csv")


def predict(
    library: Store, table: str, output: Path, model: str = "user/gap@best", crew: Serial | None = None
) -> Manifest:
    return predict_folder(library, model, None, [table], str(output), crew or Serial())


def values(output: Path) -> list[float]:
    return pd.read_parquet(output)["value"].tolist()


def test_answers_are_those_of_the_model(library: Store, table: str, tmp_path: Path) -> None:
    made = predict(library, table, tmp_path / "out")
    assert (made.plan.model, made.plan.asked, made.plan.property) == ("user/gap@1", "user/gap@best", "user/gap")
    assert (made.rows, made.unanswered) == (14, 1)
    found = pd.read_parquet(tmp_path / "out")
    expected = load_model(resolve(library, "user/gap@1")).predict(FORMULAS)
    pd.testing.assert_frame_equal(found[list(expected)], expected, rtol=1e-6)


@pytest.mark.parametrize("model", ["user/gap@best", "user/gap"])
def test_what_a_name_means_is_settled_when_the_folder_is_begun(
    library: Store,
    table: str,
    tmp_path: Path,
    model: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed = predict(library, table, tmp_path / "undisturbed", model).plan.model
    with pytest.raises(Killed):
        predict(library, table, tmp_path / "out", model, Serial(2))
    tiny.model(library, run="run-00000003", members=[tiny.net_member(9)])
    move_best(library, resolve(library, "user/gap@3"), 0.1, "s", "p")
    assert str(resolve(library, model)) == "user/gap@3"
    monkeypatch.setattr(logging.getLogger("xtlray"), "propagate", True)
    caplog.set_level(logging.INFO, "xtlray.predict")
    made = predict(library, table, tmp_path / "out", model)
    assert made.plan.model == undisturbed
    assert values(tmp_path / "out") == pytest.approx(values(tmp_path / "undisturbed"), nan_ok=True)
    assert f"{model} was {undisturbed} when this folder was begun" in caplog.text
    assert predict(library, table, tmp_path / "later", model).plan.model == "user/gap@3"


def test_a_version_named_otherwise_is_the_same_model(library: Store, table: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        predict(library, table, tmp_path / "out", "user/gap@best", Serial(2))
    crew = Serial()
    assert predict(library, table, tmp_path / "out", "user/gap@1", crew).rows == 14
    assert len(crew.made) == 2


def test_another_version_is_refused(library: Store, table: str, tmp_path: Path) -> None:
    predict(library, table, tmp_path / "out")
    with pytest.raises(RequestError, match=r"has those of user/gap@1, and this is user/gap@2.*choose another folder"):
        predict(library, table, tmp_path / "out", "user/gap@2")


def test_a_model_of_that_name_in_another_store_is_refused(library: Store, table: str, tmp_path: Path) -> None:
    predict(library, table, tmp_path / "out", "user/gap@1")
    other = Store.open(str(tmp_path / "other"))
    tiny.model(other, members=[tiny.net_member(11)])
    with pytest.raises(RequestError, match=r"user/gap@1 of the same name, but of other content"):
        predict(other, table, tmp_path / "out", "user/gap@1")


def test_another_property_is_refused(library: Store, table: str, tmp_path: Path) -> None:
    tiny.model(library, "both", data=[tiny.dataset(library), tiny.dataset(library, "other/modulus", unit="GPa")])

    def run(wanted: str | None) -> str:
        return predict_folder(library, "both@1", wanted, [table], str(tmp_path / "out"), Serial()).plan.property

    assert run("modulus") == "other/modulus" == run("other/modulus")
    with pytest.raises(RequestError, match="it has those of other/modulus, and this is user/gap"):
        run(None)
    with pytest.raises(UnknownNameError, match=r"property of both@1.*other/modulus"):
        run("modulos")


def test_answers_that_have_changed_since_publication_are_said_here(
    library: Store, table: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes that work would say it where nobody looks."""

    def crew() -> Serial:
        raise Killed

    monkeypatch.setattr(golden, "_looked_at", set())
    monkeypatch.setattr(logging.getLogger("xtlray"), "propagate", True)
    for versions, said in ((provenance.versions(), False), ({"torch": "0.1"}, True)):
        monkeypatch.setattr(provenance, "versions", lambda versions=versions: versions)
        monkeypatch.setattr(golden, "changes", lambda model: ["LiO was 1 and is 2"])
        with pytest.raises(Killed):
            predict_folder(library, "user/gap@1", None, [table], str(tmp_path / "out"), crew)
        assert ("user/gap@1 answers otherwise than when it was published: LiO was 1 and is 2" in caplog.text) is said


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        ("user/gop", None, "no model of that name"),
        ("user/gap@9", None, "no such version"),
        ("user/gap", "no.csv", "no such input"),
    ],
)
def test_nothing_is_begun_for_a_wrong_request(
    library: Store, table: str, tmp_path: Path, model: str, source: str | None, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        predict(library, source or table, tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def test_objects_in_and_objects_out(library: Store, table: str, s3: Store, tmp_path: Path) -> None:
    s3.create("in/x.csv", Path(table).read_bytes())
    with pytest.raises(Killed):
        predict_folder(library, "user/gap@1", None, [f"{s3.url}/in/*.csv"], f"{s3.url}/out/", Serial(2))
    made = predict_folder(library, "user/gap@1", None, [f"{s3.url}/in/*.csv"], f"{s3.url}/out/", Serial())
    predict(library, table, tmp_path / "here", "user/gap@1")
    assert s3.list("out") == [
        "out/" + name for name in sorted(["_manifest.json", "_plan.json", *(p.part for p in made.parts)])
    ]
    for part in made.parts:
        (tmp_path / part.part).write_bytes(s3.get(f"out/{part.part}"))
    found = pd.concat([pd.read_parquet(tmp_path / part.part) for part in made.parts], ignore_index=True)
    pd.testing.assert_frame_equal(found, pd.read_parquet(tmp_path / "here"))
