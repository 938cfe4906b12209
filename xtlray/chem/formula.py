"""Formulas to compositions: which elements, in which atomic fractions, for many formulas at once.

Plain formulas are read by numpy (`plain.py`), each distinct other text once by pymatgen's `Composition`; from there on
everything is numpy. The rows are ragged (most hold three of 118 elements), so a million compositions are a few flat
arrays and not a million objects. Formulas are text throughout: `NaN` is sodium nitride, and nothing here guesses
oxidation states.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from xtlray.chem.plain import PlainReader
from xtlray.errors import nearest

_BY_ATOMIC_NUMBER = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb
Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au
Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts
Og
"""
SYMBOLS: tuple[str, ...] = tuple(_BY_ATOMIC_NUMBER.split())
"""The 118 symbols by atomic number: `SYMBOLS[z - 1]`."""

KEY_DECIMALS = 5
"""Two formulas are one composition if their atomic fractions agree when rounded to so many decimals."""

_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")  # as papers print them
_ISOTOPES = ("D", "T")  # pymatgen reads both as hydrogen
_NOISE_DECIMALS = 12  # float noise is far below this, and what a person can write in a formula far above
_PLAIN = PlainReader(SYMBOLS)
_KEY_ENTRY = np.dtype([("z", "u1"), ("fraction", "<i4")])


@dataclass(frozen=True)
class Compositions:
    """N compositions as ragged arrays; row i is the slice `offsets[i]:offsets[i + 1]` of the other two.

    Attributes:
        offsets: int64 [N + 1], from 0.
        z: uint8 atomic numbers, ascending within a row.
        fraction: atomic fractions that add up to 1 in each row; float64, or float32 where read from shards.
    """

    offsets: np.ndarray
    z: np.ndarray
    fraction: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> np.ndarray:
        """int64 [N]: how many elements each row holds; 0 for a formula that could not be parsed."""
        return np.diff(self.offsets)

    def rows(self) -> np.ndarray:
        """int64, as long as `z`: the row that each entry belongs to."""
        return np.repeat(np.arange(len(self)), self.counts)

    def take(self, index: Any) -> Compositions:
        """The rows that `index` (integers or a boolean mask) picks, in its order, repeats allowed."""
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        counts = self.counts[index]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][index] - offsets[:-1], counts)
        return Compositions(offsets, self.z[entries], self.fraction[entries])

    @staticmethod
    def concatenate(pieces: Sequence[Compositions]) -> Compositions:
        """All rows of `pieces`, one after another."""
        counts = [piece.counts for piece in pieces]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))])
        z = np.concatenate([np.zeros(0, np.uint8), *(piece.z for piece in pieces)])
        fraction = np.concatenate([piece.fraction for piece in pieces]) if pieces else np.zeros(0)
        return Compositions(offsets, z, fraction)

    def elements(self, i: int) -> list[str]:
        """The symbols in row `i`, by ascending atomic number."""
        return [SYMBOLS[z - 1] for z in self.z[self.offsets[i] : self.offsets[i + 1]].tolist()]


def parse(formulas: Sequence[Any]) -> tuple[Compositions, dict[int, str]]:
    """Read formulas: about 0.6 µs for a plain one, and 6 µs for each distinct text with brackets or the like.

    Args:
        formulas: texts. Fractional amounts, brackets and thousands of atoms are fine; D and T count as hydrogen.

    Returns:
        One composition per formula, and for each row that could not be read (it has no elements) the reason, by row
        number from 0. A row that is no text at all (None, a float NaN) says "formula missing".
    """
    given = list(formulas)
    texts = [formula if isinstance(formula, str) else "" for formula in given]
    joined = "".join(texts)
    if joined.isascii():
        data, lengths = joined.encode(), map(len, texts)
    else:  # longer in bytes than in characters
        coded = [text.encode(errors="surrogatepass") for text in texts]
        data, lengths = b"".join(coded), map(len, coded)
    offsets = np.zeros(len(given) + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, len(given)), out=offsets[1:])
    return _parse(data, offsets, given.__getitem__)


def parse_coded(
    data: bytes | memoryview, offsets: np.ndarray, missing: np.ndarray | None = None
) -> tuple[Compositions, dict[int, str]]:
    """`parse` of texts as Arrow keeps them.

    Args:
        data: all texts in UTF-8, one after another.
        offsets: [rows + 1]; row i is `data[offsets[i]:offsets[i + 1]]`.
        missing: bool [rows], which rows hold no text at all; they are empty.
    """
    bounds = np.asarray(offsets, np.int64)

    def formula(i: int) -> str | None:
        gone = missing is not None and missing[i]
        return None if gone else bytes(data[bounds[i] : bounds[i + 1]]).decode(errors="replace")

    return _parse(data, bounds, formula)


def parse_by_pymatgen(formulas: Sequence[Any]) -> tuple[Compositions, dict[int, str]]:
    """`parse` without its short way for plain formulas, which has to agree with this one."""
    numbers: dict[str | None, int] = {}
    texts = map(_text, formulas)
    number = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int64, len(formulas))
    distinct, why = _parse_distinct(list(numbers))
    return distinct.take(number), {i: why[n] for i, n in enumerate(number.tolist()) if n in why}


def explain(formula: Any) -> str | None:
    """Why `formula` cannot be read, in words for a person; None if it can."""
    return parse([formula])[1].get(0)


def composition_keys(compositions: Compositions) -> list[bytes]:
    """The identity of each composition: its atomic fractions rounded to 5 decimals, as bytes that can be hashed.

    `Fe2O4` and `FeO2` have the same key, whatever float noise their fractions carry; an element that rounds to 0
    does not count.
    """
    # Rounding twice: the first step takes noise away, which else decides where a fraction such as 1/320 falls.
    scaled = np.round(compositions.fraction.astype(np.float64), _NOISE_DECIMALS) * 10**KEY_DECIMALS
    entries = np.empty(len(scaled), _KEY_ENTRY)
    entries["z"], entries["fraction"] = compositions.z, np.rint(scaled)
    kept = entries["fraction"] > 0
    ends = np.concatenate([[0], np.cumsum(kept)])[compositions.offsets] * _KEY_ENTRY.itemsize
    flat = entries[kept].tobytes()
    bounds = ends.tolist()
    return [flat[start:end] for start, end in pairwise(bounds)]


def _parse(
    data: bytes | memoryview, offsets: np.ndarray, formula: Callable[[int], Any]
) -> tuple[Compositions, dict[int, str]]:
    """The plain rows from their bytes, the others by pymatgen from what `formula` gives for them."""
    plain = _divided(*_PLAIN.read(np.frombuffer(data, np.uint8), offsets))
    others = np.flatnonzero(plain.counts == 0)
    if not len(others):
        return plain, {}
    rest, why = parse_by_pymatgen([formula(i) for i in others.tolist()])
    index = np.arange(len(plain))
    index[others] = len(plain) + np.arange(len(others))
    return Compositions.concatenate([plain, rest]).take(index), {int(others[i]): text for i, text in why.items()}


def _text(formula: Any) -> str | None:
    return formula.strip().translate(_SUBSCRIPTS) if isinstance(formula, str) else None


def _parse_distinct(texts: list[str | None]) -> tuple[Compositions, dict[int, str]]:
    from pymatgen.core import Composition, Element  # here, for it takes 0.2 s to import

    counts = np.zeros(len(texts), np.int64)
    z: list[int] = []
    amounts: list[float] = []
    reasons: dict[int, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, text in enumerate(texts):
            found = _parse_one(text, Composition, Element)
            if isinstance(found, str):
                reasons[i] = found
                continue
            counts[i] = len(found)
            for number in sorted(found):
                z.append(number)
                amounts.append(found[number])
    return _divided(counts, np.array(z, np.uint8), np.array(amounts, np.float64)), reasons


def _parse_one(text: str | None, composition: Any, element: Any) -> dict[int, float] | str:
    """Amounts by atomic number, or the reason why there are none. The last two arguments are pymatgen's classes."""
    if text is None:
        return "formula missing"
    try:
        read = composition(text)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        return _reason(text, str(error))
    by_z: dict[int, float] = {}
    for species, amount in read.items():
        if not isinstance(species, element):  # the dummy species that pymatgen makes of an unknown symbol
            return _not_an_element(species.symbol)
        # D and H are two keys of pymatgen, one element here.
        by_z[species.Z] = by_z.get(species.Z, 0.0) + amount
    if not by_z:
        return "the formula holds no atoms"
    return by_z if sum(by_z.values()) < np.inf else "an amount in the formula is infinite"


def _divided(counts: np.ndarray, z: np.ndarray, amounts: np.ndarray) -> Compositions:
    """Each row, sorted by atomic number, divided by its sum: the order of writing leaves no trace."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    totals = np.ones(len(counts))
    filled = counts > 0
    if filled.any():
        totals[filled] = np.add.reduceat(amounts, offsets[:-1][filled])
    return Compositions(offsets, z, amounts / np.repeat(totals, counts))


def _reason(text: str, message: str) -> str:
    if not text:
        return "the formula is empty"
    if "negative" in message:
        return "an amount in the formula is negative"
    for symbol in re.findall("[A-Z][a-z]*", text):
        if symbol not in SYMBOLS and symbol not in _ISOTOPES:
            return _not_an_element(symbol)
    if re.search("[a-z]", text) and not re.search("[A-Z]", text):
        return "element symbols begin with a capital letter, as in SiO2"
    found = re.match("(.*) is an invalid formula", message)
    return f"{found[1]!r} has no meaning in a formula" if found else "this is not a formula"


@lru_cache(maxsize=4096)
def _not_an_element(symbol: str) -> str:
    alike = [s for s in SYMBOLS if s[0] == symbol[0]] or list(SYMBOLS)
    close = nearest(symbol, alike, 1) if len(symbol) <= 3 else []
    return f"{symbol[:20]} is not an element" + (f" (nearest: {close[0]})" if close else "")
