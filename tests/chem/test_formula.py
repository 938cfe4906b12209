"""Formulas as users write them, and the identity of the compositions that they mean."""

import numpy as np
import pytest

from xtlray.chem.formula import SYMBOLS, Compositions, composition_keys, explain, parse


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("SiO2", {"O": 2 / 3, "Si": 1 / 3}),
        ("NaN", {"N": 0.5, "Na": 0.5}),  # sodium nitride, not "not a number"
        ("Ca(OH)2", {"H": 0.4, "O": 0.4, "Ca": 0.2}),
        ("Ca3[PO4]2", {"O": 8 / 13, "P": 2 / 13, "Ca": 3 / 13}),
        ("Mg1.25(Zr0.5)0.75", {"Mg": 1.25 / 1.625, "Zr": 0.375 / 1.625}),
        ("Fe.5Ni.5", {"Fe": 0.5, "Ni": 0.5}),
        ("HDO", {"H": 2 / 3, "O": 1 / 3}),
        ("T2O", {"H": 2 / 3, "O": 1 / 3}),
        (" Si O2\n", {"O": 2 / 3, "Si": 1 / 3}),
        ("Fe0O2", {"O": 1.0}),
        ("Og", {"Og": 1.0}),
    ],
)
def test_fractions_of_a_formula(formula, expected):
    compositions, reasons = parse([formula])
    assert reasons == {}
    assert compositions.elements(0) == list(expected)  # ascending atomic number
    np.testing.assert_allclose(compositions.fraction, list(expected.values()), rtol=1e-12)


def test_thousands_of_atoms():
    compositions, _ = parse(["C100H3815Br21I279N2185Pb100"])
    assert compositions.elements(0) == ["H", "C", "N", "Br", "I", "Pb"]
    np.testing.assert_allclose(compositions.fraction, np.array([3815, 100, 2185, 21, 279, 100]) / 6500)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("Xx2O", "Xx is not an element (nearest: Xe)"),
        ("NA", "A is not an element"),
        ("None", "None is not an element"),
        ("2-Feb", "Feb is not an element (nearest: Fe)"),
        ("R2O3", "R is not an element"),
        ("", "the formula is empty"),
        ("   ", "the formula is empty"),
        ("Fe0", "the formula holds no atoms"),
        ("Fe-2O", "negative"),
        ("Fe1e400", "infinite"),
        ("Fe9e307O9e307Ni9e307", "infinite"),
        ("inf", "capital letter"),
        ("sio2", "capital letter"),
        ("Fe2O3·5H2O", "'·5' has no meaning"),
        ("(Fe2O3", "'(' has no meaning"),
        ("Fe1.2.3", "not a formula"),
        ("12", "not a formula"),
        (None, "formula missing"),
        (float("nan"), "formula missing"),
        (3, "formula missing"),
    ],
)
def test_why_a_formula_cannot_be_read(formula, reason):
    compositions, reasons = parse([formula])
    assert reason in reasons[0]
    assert explain(formula) == reasons[0]
    assert compositions.counts.tolist() == [0]


def test_good_and_bad_rows_side_by_side():
    compositions, reasons = parse(["SiO2", "Xx", "NaN", "Xx", "SiO2"])
    assert sorted(reasons) == [1, 3]
    assert compositions.counts.tolist() == [2, 0, 2, 0, 2]
    assert compositions.fraction[:2].tolist() == compositions.fraction[-2:].tolist()
    assert explain("SiO2") is None


def test_nothing_to_parse():
    compositions, reasons = parse([])
    assert len(compositions) == 0
    assert reasons == {}
    assert composition_keys(compositions) == []


def test_take_and_concatenate():
    compositions, _ = parse(["SiO2", "Fe", "", "NaCl"])
    taken = compositions.take([3, 0, 2, 3])
    assert [taken.elements(i) for i in range(4)] == [["Na", "Cl"], ["O", "Si"], [], ["Na", "Cl"]]
    masked = compositions.take(np.array([False, True, False, True]))
    joined = Compositions.concatenate([masked, taken])
    assert [joined.elements(i) for i in range(len(joined))][:3] == [["Fe"], ["Na", "Cl"], ["Na", "Cl"]]
    assert joined.fraction.tolist()[:3] == [1.0, 0.5, 0.5]
    assert len(Compositions.concatenate([])) == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Fe2O4", "FeO2", True),
        ("O2Fe", "FeO2", True),
        ("Fe0.1O0.2", "FeO2", True),
        ("Fe0.1Fe0.2O0.6", "FeO2", True),  # 0.1 + 0.2 is not 0.3
        ("FeO319", "Fe2O638", True),  # 1/320: on the edge of rounding
        ("Fe0.3O95.7", "FeO319", True),  # the same edge, with noise
        ("FeO2", "Fe2O3", False),
        ("FeO2", "CoO2", False),
        ("Fe1e-7O", "O2", True),  # a trace rounds to nothing
        ("HDO", "H2O", True),
    ],
)
def test_which_formulas_are_one_composition(first, second, same):
    keys = composition_keys(parse([first, second])[0])
    assert (keys[0] == keys[1]) is same


def test_symbols_are_in_order_of_atomic_number():
    assert len(set(SYMBOLS)) == 118
    assert [SYMBOLS[z - 1] for z in (1, 8, 26, 57, 71, 94, 118)] == ["H", "O", "Fe", "La", "Lu", "Pu", "Og"]
