"""Plain formulas, read without pymatgen: the same to the last bit as what pymatgen reads, and never more than that."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from xtlray.chem.formula import SYMBOLS, Compositions, parse, parse_by_pymatgen, parse_coded
from xtlray.chem.plain import PlainReader
from xtlray.data.read import read_table

ODD = (
    *("D", "T", "X", "Xx", "(", ")", "[", "]", "{", "}", "@", "-", "+", "*", ".", "..", " ", "e", "é", "₂", "٣", "\n"),
    *("\0", "·", "/", "1e5", "0", "00", "0.0", "0.", "1.", "1.2.3", ".5", "1e-7", "0.000001", "0.00000001", "0.1"),
    *("0.2", "0.3", "1", "2", "10", "0.123456789012345", "123456789012345", "1234567890123456", "99999999999"),
)


def share_that_is_plain(formulas: list[str]) -> float:
    offsets = np.cumsum([0, *(len(text.encode()) for text in formulas)])
    counts, _, _ = PlainReader(SYMBOLS).read(np.frombuffer("".join(formulas).encode(), np.uint8), offsets)
    return float((counts > 0).mean())


def is_same(found: tuple[Compositions, dict[int, str]], other: tuple[Compositions, dict[int, str]]) -> bool:
    pairs = [(getattr(found[0], name), getattr(other[0], name)) for name in ("offsets", "z", "fraction")]
    return all(np.array_equal(a, b) for a, b in pairs) and found[1] == other[1]


@pytest.mark.parametrize("text", ["SiO2", "NaN", "O", "Fe0.1Ni0.9", "C2H5OH", "Al13Fe4", "Cu0.333333333", "H007"])
def test_what_is_plain(text: str) -> None:
    assert share_that_is_plain([text]) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "sio2", "2O", ".5Fe", "Fe.5", "Fe1.", "Fe1.2.3", "Ca(OH)2", "HDO", "Fe0O2", "Xx2O", "Si O2", "Fe-2O"),
        *("SiO₂", "Fe1e3", "Sio", "Fe0.1Fe0.2", "Fe1234567890123456", "Fe0.0000001", "A", "Naa", "Fe2+", "\0", "NaÄ"),
    ],
)
def test_what_is_left_to_pymatgen(text: str) -> None:
    assert share_that_is_plain([text]) == 0


def test_every_symbol_alone_and_before_any_letter() -> None:
    texts = [*SYMBOLS, *(f"{symbol}{letter}2" for symbol in SYMBOLS for letter in ("C", "O", "o", "a", "n", "u"))]
    assert share_that_is_plain(list(SYMBOLS)) == 1
    assert is_same(parse(texts), parse_by_pymatgen(texts))


def test_a_row_does_not_see_the_next() -> None:
    """Each would read otherwise if the text went on."""
    texts = ["Si", "o2", "", "Fe1", "5", "N", "a", "O", ".5", "Al2", "", ""]
    found, reasons = parse(texts)
    assert found.counts.tolist() == [1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]
    assert sorted(reasons) == [1, 2, 4, 6, 8, 10, 11]
    assert [found.elements(i) for i in (0, 3, 5, 7, 9)] == [["Si"], ["Fe"], ["N"], ["O"], ["Al"]]


@pytest.mark.parametrize("seed", range(4))
def test_anything_is_read_as_pymatgen_reads_it(seed: int) -> None:
    chance = random.Random(seed)

    def amount() -> str:
        written = (f"{chance.random():.{chance.randint(1, 14)}f}", f"{1000 * chance.random():.2f}")
        return chance.choice(["", "", str(chance.randint(0, 20)), str(chance.randint(0, 10**15)), *written])

    def one() -> str:
        if chance.random() < 0.3:
            return "".join(chance.choice((*SYMBOLS, *ODD)) for _ in range(chance.randint(0, 7)))
        symbols = chance.sample(SYMBOLS, chance.randint(1, 6))
        return "".join(symbol + amount() for symbol in symbols + symbols[: chance.choice((0, 0, 2))])

    texts = [one() for _ in range(3000)]
    assert is_same(parse(texts), parse_by_pymatgen(texts))
    assert 0.3 < share_that_is_plain(texts) < 0.9


@pytest.mark.data
def test_real_formulas_are_read_as_pymatgen_reads_them(real_data: Path) -> None:
    oqmd = read_table(real_data / "oqmd" / "formation_energy.csv.gz").formulas()[::50]
    jarvis = read_table(real_data / "jarvis" / "klu.train.csv.gz").formulas()[::20]
    assert share_that_is_plain(oqmd) == 1
    assert share_that_is_plain(jarvis) > 0.85
    for texts in (oqmd, jarvis):
        assert is_same(parse(texts), parse_by_pymatgen(texts))


def test_coded_texts_are_read_as_texts() -> None:
    texts = ["SiO2", "", "Ca(OH)2", "Fe₂O₃", "é", None, "NaCl"]
    coded = [(text or "").encode() for text in texts]
    offsets = np.cumsum([3, *map(len, coded)])  # as in a slice of a longer array
    missing = np.array([text is None for text in texts])
    found = parse_coded(b"xyz" + b"".join(coded) + b"Og", offsets, missing)
    assert is_same(found, parse(texts))
    assert found[1][5] == "formula missing"
    assert "empty" in found[1][1]


def test_bytes_that_are_no_text() -> None:
    found, reasons = parse_coded(b"Si\xffO2NaCl", np.array([0, 5, 9]))
    assert list(reasons) == [0]
    assert found.elements(1) == ["Na", "Cl"]
