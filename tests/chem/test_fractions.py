"""The dense input of a net: each element in its column, foreign elements named and never squeezed in."""

import numpy as np
import pytest

from xtlray.chem.formula import parse
from xtlray.chem.fractions import ELEMNET_ELEMENTS, FractionEncoder
from xtlray.errors import RequestError


def test_elemnet_has_its_86_elements():
    assert len(ELEMNET_ELEMENTS) == 86
    assert ELEMNET_ELEMENTS[:6] == ("H", "Li", "Be", "B", "C", "N")
    assert ELEMNET_ELEMENTS[-6:] == ("Ac", "Th", "Pa", "U", "Np", "Pu")
    assert {"Kr", "Xe", "Tc", "Pm"} <= set(ELEMNET_ELEMENTS)  # ElemNet does hold these


def test_each_fraction_in_its_column():
    x_BE = FractionEncoder(("O", "Si", "Fe")).encode(parse(["SiO2", "Fe3O", "Si"])[0])
    assert x_BE.dtype == np.float32
    np.testing.assert_allclose(x_BE, [[2 / 3, 1 / 3, 0], [0.25, 0, 0.75], [0, 1, 0]], rtol=1e-6)


def test_rows_of_elemnet_add_up_to_one():
    x_BE = FractionEncoder().encode(parse(["C100H3815Br21I279N2185Pb100", "Mg1.25(Zr0.5)0.75", "NaN"])[0])
    assert x_BE.shape == (3, 86)
    np.testing.assert_allclose(x_BE.sum(1), 1, rtol=1e-6)


def test_foreign_elements_are_named():
    compositions, _ = parse(["SiO2", "HeNe", "Xx", "PoO2"])
    encoder = FractionEncoder()
    assert encoder.encodable(compositions).tolist() == [True, False, False, False]
    assert encoder.missing(compositions) == {1: ["He", "Ne"], 3: ["Po"]}
    with pytest.raises(RequestError, match=r"He, Ne in row 1 and 1 more rows.*86 elements"):
        encoder.encode(compositions)
    with pytest.raises(RequestError, match=r"without elements.*row 1"):
        encoder.encode(compositions.take([0, 2]))


def test_no_rows():
    assert FractionEncoder().encode(parse([])[0]).shape == (0, 86)


@pytest.mark.parametrize(("elements", "got"), [(("H", "Xx"), "Xx"), (("H", "H"), "twice")])
def test_an_encoder_needs_different_elements(elements, got):
    with pytest.raises(RequestError, match=got):
        FractionEncoder(elements)
