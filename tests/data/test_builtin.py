"""The datasets in the package: small, complete, and what the job that makes them gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from xtlray import catalog
from xtlray.chem.alloys import AlloyTable, MiedemaAlloys, generate
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import open_dataset
from xtlray.records import SPLITS
from xtlray.store import Store, builtin

ROWS = {
    "demo/formation_enthalpy": 20_000,
    "demo/molar_volume": 180,
    "demo/bulk_modulus": 200,
    "demo/shear_modulus": 200,
    "demo/melting_temperature": 200,
    "demo/work_function": 160,
    "demo/debye_temperature": 200,
    "demo/volume_effect": 400,
    "demo/mismatch_enthalpy": 600,
}


@pytest.fixture(scope="module")
def remade() -> dict[str, AlloyTable]:
    """What the job file gives now."""
    job = yaml.safe_load((Path(__file__).parents[2] / "jobs" / "make_demo_data.yaml").read_text(encoding="utf-8"))
    assert {job.pop(key) for key in ("kind", "name", "generator")} == {"dataset", "make-demo-data", "miedema-alloys"}
    return generate(MiedemaAlloys.model_validate(job))


def test_it_is_small_and_nothing_else_lies_there() -> None:
    place = builtin()
    assert place.children("") == ["datasets", "models"]  # for the models see tests/registry/test_builtin.py
    keys = place.list("datasets")
    assert {"/".join(key.split("/")[1:3]) for key in keys} == set(ROWS)
    assert sum(len(place.get(key)) for key in keys) < 500_000
    assert len([key for key in keys if key.endswith("card.json")]) == len(ROWS)  # no older versions


def test_the_catalog_knows_the_same_names() -> None:
    assert [name for name in catalog.datasets() if name.startswith("demo/")] == list(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_its_rows_add_up_and_can_be_encoded(name: str, store: Store) -> None:
    found = open_dataset(store, name)
    assert (found.ingest.rows_read, found.ingest.rows_kept, found.ingest.rows_rejected) == (ROWS[name], ROWS[name], 0)
    assert sum(found.card.splits.values()) == found.card.rows == ROWS[name]
    for split in SPLITS:
        rows = found.rows(split)
        assert len(rows) == found.card.splits[split] >= 10
        x_BE, kept, skipped = rows.encode(FractionEncoder())
        assert (len(kept), skipped) == (len(rows), 0)
        assert np.allclose(x_BE.sum(axis=1), 1)


@pytest.mark.parametrize("name", ROWS)
def test_its_card_says_what_it_is(name: str, store: Store) -> None:
    card, info = open_dataset(store, name).card, catalog.get(name)
    assert (card.unit, card.label, card.description) == (info.unit, info.label, info.description)
    assert card.description is not None
    assert "Made to try the program, not evidence" in card.description
    assert card.rows_outside_plausible == 0
    assert card.licence == "Apache-2.0"
    assert "Cohesion in Metals" in (card.citation or "")


@pytest.mark.parametrize("name", ROWS)
def test_the_job_file_gives_these_rows(name: str, store: Store, remade: dict[str, AlloyTable]) -> None:
    found = open_dataset(store, name)
    held = {
        formula: value
        for split in SPLITS
        for formula, value in zip(found.rows(split).formulas, found.rows(split).y_B, strict=True)
    }
    made = remade[name]
    assert list(found.ingest.notes) == list(made.notes)
    assert sorted(made.formulas) == sorted(held)
    # The last digit may differ between processors' math libraries.
    assert np.allclose(made.values, [held[formula] for formula in made.formulas], rtol=2e-4, atol=2e-4)
