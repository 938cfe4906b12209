"""How a model was made, of its card: histories of one fit and of several, and the environment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.registry.library import card
from xtlray import provenance
from xtlray.records import ModelCard
from xtlray.registry.making import beside_here, environment, training_history


def made(**changes: Any) -> ModelCard:
    return ModelCard.read(card(**changes), "a test")


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], []),
        (
            [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}],
            [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}],
        ),
        (
            [
                {"seed": 0, "fold": 1, "epochs": [{"epoch": 1, "val": 3.0}, {"epoch": 2, "val": 2.0}]},
                {"seed": 1, "fold": 2, "epochs": []},
            ],
            [
                {"seed": 0, "fold": 1, "epoch": 1, "val": 3.0},
                {"seed": 0, "fold": 1, "epoch": 2, "val": 2.0},
                {"seed": 1, "fold": 2},
            ],
        ),
        ([{"seed": 0, "epochs": 12}], [{"seed": 0, "epochs": 12}]),
    ],
)
def test_a_row_per_epoch(history: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert training_history(made(history=history)) == expected


def test_the_environment_is_that_of_the_card() -> None:
    found = environment(made(environment={"platform": "Linux", "cores": 4}, versions={"numpy": "1.0"}))
    assert found == {
        "model": "user/gap@1", "created": "2026-01-01T00:00:00Z", "run": "run-00000001", "commit": "abc",
        "hardware": "a computer", "platform": "Linux", "cores": 4, "versions": {"numpy": "1.0"},
    }  # fmt: skip


def test_versions_are_set_beside_those_of_here() -> None:
    here = provenance.versions()
    rows = beside_here({"versions": {"python": here["python"], "numpy": "1.0", "gone": "2"}})
    by_name = {row["library"]: row for row in rows}
    assert [row["library"] for row in rows[:3]] == ["python", "numpy", "gone"]
    assert by_name["python"]["same"]
    assert (by_name["numpy"]["made_with"], by_name["numpy"]["same"]) == ("1.0", False)
    assert (by_name["gone"]["here"], by_name["gone"]["same"]) == (None, False)
    assert (by_name["torch"]["made_with"], by_name["torch"]["here"]) == (None, here["torch"])
