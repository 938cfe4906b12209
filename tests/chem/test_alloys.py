"""The demo datasets: as many rows as asked for, the same ones each time, and harder than a look at the source."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from pymatgen.core import Composition

from xtlray.chem.alloys import TARGETS, AlloyTable, MiedemaAlloys, generate, metals

SMALL = MiedemaAlloys(seed=3, rows=2_000, targets={"molar_volume": 60, "melting_temperature": 80})


@pytest.fixture(scope="module")
def made() -> dict[str, AlloyTable]:
    return generate(MiedemaAlloys())


def explained(source: np.ndarray, target: np.ndarray) -> float:
    """R² of the best of some local regressions of a target on the source value, each row left out of its own answer."""
    order = np.argsort(source)
    y, scores = target[order], []
    for neighbours in (4, 8, 16, 32, 64):
        around = [np.r_[y[max(0, i - neighbours // 2) : i], y[i + 1 : i + 1 + neighbours // 2]] for i in range(len(y))]
        scores.append(1 - np.mean((y - [rows.mean() for rows in around]) ** 2) / y.var())
    return max(scores)


def test_it_makes_what_is_asked_for():
    tables = generate(SMALL)
    assert {name: len(table.formulas) for name, table in tables.items()} == {
        "demo/formation_enthalpy": 2_000,
        "demo/molar_volume": 60,
        "demo/melting_temperature": 80,
    }
    assert all(len(table.values) == len(table.formulas) for table in tables.values())


def test_equal_settings_give_equal_tables_and_another_seed_others():
    one, again, other = generate(SMALL), generate(SMALL), generate(SMALL.model_copy(update={"seed": 4}))
    for name in one:
        assert one[name].formulas == again[name].formulas
        assert np.array_equal(one[name].values, again[name].values)
        assert one[name].formulas != other[name].formulas


def test_a_target_does_not_depend_on_which_others_are_made():
    alone = generate(SMALL.model_copy(update={"targets": {"melting_temperature": 80}}))
    assert alone["demo/melting_temperature"].formulas == generate(SMALL)["demo/melting_temperature"].formulas


def test_the_defaults_are_what_the_demo_needs(made: dict[str, AlloyTable]):
    rows = {name: len(table.values) for name, table in made.items()}
    assert rows.pop("demo/formation_enthalpy") == 20_000
    assert set(rows) == {f"demo/{name}" for name in TARGETS}
    assert all(150 <= n <= 600 for n in rows.values())
    assert sum(n <= 200 for n in rows.values()) >= 4


def test_alloys_are_distinct_metals_of_two_or_three_elements(made: dict[str, AlloyTable]):
    formulas = made["demo/formation_enthalpy"].formulas
    assert len(metals()) == 65
    found = [Composition(formula) for formula in formulas]
    assert Counter(map(len, found)) == {2: 10_000, 3: 10_000}
    assert len({composition.reduced_formula for composition in found}) == 20_000
    assert all(element.is_metal or element.symbol == "Sb" for composition in found[::50] for element in composition)


def test_small_datasets_hold_alloys_of_the_big_one_spread_over_the_elements(made: dict[str, AlloyTable]):
    big = set(made["demo/formation_enthalpy"].formulas)
    for name in TARGETS:
        formulas = made[f"demo/{name}"].formulas
        assert len(set(formulas)) == len(formulas)
        assert set(formulas) <= big
        often = Counter(symbol for f in formulas for symbol in Composition(f).get_el_amt_dict())
        assert len(often) >= 60
        assert max(often.values()) <= 3 * np.mean(list(often.values()))


def test_the_source_leaves_30_percent_of_every_target_unexplained(made: dict[str, AlloyTable]):
    source = made["demo/formation_enthalpy"]
    of = dict(zip(source.formulas, source.values, strict=True))
    r2 = {
        name: explained(np.array([of[f] for f in made[f"demo/{name}"].formulas]), made[f"demo/{name}"].values)
        for name in TARGETS
    }
    assert {name: round(value, 2) for name, value in r2.items() if value > 0.7} == {}


def test_the_check_of_what_is_explained_sees_a_function_of_the_source():
    source = np.random.default_rng(0).normal(size=200)
    assert explained(source, np.sin(2 * source)) > 0.95


def test_noise_is_as_large_as_stated():
    settings = {"rows": 20_000, "targets": {"bulk_modulus": 600}}
    exact = generate(MiedemaAlloys(noise=0.0, **settings))["demo/bulk_modulus"]
    noisy = generate(MiedemaAlloys(noise=0.1, **settings))["demo/bulk_modulus"]
    assert exact.formulas == noisy.formulas
    assert (noisy.values - exact.values).std() / exact.values.std() == pytest.approx(0.1, rel=0.1)
    assert "0.1 of the property's own" in noisy.notes[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": {"bulk_modulos": 100}}, "bulk_modulus"),
        ({"targets": {"bulk_modulus": 5}}, "50 to 1000"),
        ({"rows": 100}, "2000"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        MiedemaAlloys(**settings)
