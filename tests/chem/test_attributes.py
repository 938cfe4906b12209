"""Physical attributes against matminer's own answers for the formula as it was written, and against known values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from xtlray.chem.attributes import COUNT, attributes, names, recipe
from xtlray.chem.formula import Compositions, parse

FORMULAS = ["Fe2O3", "NaN", "Li0.35La0.55TiO3", "Si", "Ba0.3Sr0.7Co0.8Fe0.2O3", "KAlSi3O8", "Al12Mg17Zn5Cu3"]


def compositions(formulas: list[str], dtype: type = np.float64) -> Compositions:
    found, reasons = parse(formulas)
    assert not reasons
    return Compositions(found.offsets, found.z, found.fraction.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_they_are_matminers(dtype: type) -> None:
    from matminer.featurizers.composition import ElementProperty, IonProperty, Stoichiometry, ValenceOrbital
    from pymatgen.core import Composition

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [
            Stoichiometry(),
            ElementProperty.from_preset("magpie"),
            ValenceOrbital(props=["avg"]),
            IonProperty(fast=True),
        ]
        expected = [[value for part in parts for value in part.featurize(Composition(text))] for text in FORMULAS]
    found = attributes(compositions(FORMULAS, dtype))
    assert found.dtype == np.float32
    assert found.shape == (len(FORMULAS), COUNT)
    assert np.allclose(found, np.array(expected, float), rtol=1e-5, atol=1e-5)


def test_known_values() -> None:
    place = {name: i for i, name in enumerate(names())}
    assert len(place) == COUNT
    (row,) = attributes(compositions(["Fe2O3"]))
    assert row[place["0-norm"]] == 2
    assert row[place["2-norm"]] == pytest.approx(np.hypot(0.4, 0.6))
    assert row[place["MagpieData mean Number"]] == pytest.approx(0.4 * 26 + 0.6 * 8)
    assert row[place["compound possible"]] == 1  # Fe(III)


def test_a_composition_is_one_whatever_its_formula_and_rows_keep_their_places() -> None:
    found = attributes(compositions(["Fe2O3", "Si", "Fe4O6", "Si2"]))
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[1], found[3])
    assert not np.array_equal(found[0], found[1])


def test_rows_without_elements_are_nan_and_no_rows_are_no_rows() -> None:
    found, reasons = parse(["Xx", "Si"])
    assert list(reasons) == [0]
    answer = attributes(found)
    assert np.isnan(answer[0]).all()
    assert np.isfinite(answer[1]).all()
    assert attributes(found.take([])).shape == (0, COUNT)


def test_the_recipe_is_a_name_for_a_key() -> None:
    assert recipe() == recipe()
    assert recipe().startswith("ward2016-")
    assert "/" not in recipe()
