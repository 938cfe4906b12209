"""The library benchmark, all of it in miniature: its figures are there, and what it wrote is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xtlray.bench.bench import Place
from xtlray.bench.library import LibrarySettings, card, measure, name_of
from xtlray.cli.main import main
from xtlray.records import ModelCard
from xtlray.registry.segments import rows_of_bytes
from xtlray.store import Store, canonical_json

JOB = str(Path(__file__).resolve().parents[2] / "jobs" / "bench" / "library.yaml")


def test_its_cards_are_as_real_ones() -> None:
    for number in (0, 7, 99_999):
        value = card(number, epochs=3)
        assert ModelCard.read(value, "a test").as_json() == value
        (row,) = rows_of_bytes((name_of(number), 1), canonical_json(value))
        assert "problem" not in row
        assert row["elements_seen"]
    assert card(5, 3) == card(5, 3)
    assert len({card(n, 0)["property"] for n in range(100)}) == 40
    assert 4_000 < len(canonical_json(card(1, 20))) < 20_000


def test_all_of_it_in_miniature(store: Store) -> None:
    def session() -> None:
        raise AssertionError("needs no Ray")

    said: list[str] = []
    settings = LibrarySettings(bench="library", few=3, many=60, epochs=1, publications=2, folds=1, repeats=1)
    found = measure(Place(store, "runs/b-1/attempts/1", session, said.append), settings)
    assert store.list("") == []
    assert json.loads(json.dumps(found)) == found
    for name in ("publish_s_3", "publish_s_60", "search_s_3", "search_s_60", "fold_s", "compact_s", "rebuild_s"):
        assert 0 < found[name] < 60, name
    assert found["publish_ratio_60_over_3"] == pytest.approx(found["publish_s_60"] / found["publish_s_3"])
    assert found["search_s_60"] > found["search_s_60_in_python"]
    assert said[:2] == ["a library of 3 cards", "a library of 60 cards"]


def test_the_job_can_be_planned(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", store.url, "run", JOB, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["bench"] == "library"
