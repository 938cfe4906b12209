"""Plain formulas (`SiO2`, `Fe0.5Ni0.5`: symbols and amounts, nothing else) read all at once, without an object per row.

They are nearly all that anybody has, and pymatgen takes 6 µs for each. What is not plain beyond doubt (brackets, signs,
isotopes, an exponent, an amount of 0, an unknown symbol) is left to it: its answer is the one that counts, and for a
plain formula this one is the same to the last bit.

Shape suffixes: B rows, C bytes of all texts, T tokens (a symbol with its amount).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_UPPER, _LOWER, _DIGIT, _DOT = 1, 2, 3, 4
_KIND = np.zeros(256, np.uint8)
_KIND[ord("A") : ord("Z") + 1] = _UPPER
_KIND[ord("a") : ord("z") + 1] = _LOWER
_KIND[ord("0") : ord("9") + 1] = _DIGIT
_KIND[ord(".")] = _DOT

_LONGEST = 15  # characters of an amount: so many digits are exact as a float
_LARGEST = 1e9  # of one that is added to another: their sum is exact too
_SMALLEST = 1e-6  # amounts below are left to pymatgen, which drops those below 1e-8
_TENS = 10.0 ** np.arange(_LONGEST + 1)


class PlainReader:
    """Reads plain formulas.

    Args:
        symbols: of the elements, by atomic number from 1.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self._z = np.zeros(26 * 27, np.uint8)  # by first letter, and second letter or none
        for z, symbol in enumerate(symbols, start=1):
            first, second = ord(symbol[0]) - ord("A"), ord(symbol[1]) - ord("a") + 1 if len(symbol) > 1 else 0
            self._z[27 * first + second] = z

    def read(
        self, data_C: NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
        """Amounts by atomic number.

        Args:
            data_C: the texts one after another, in UTF-8.
            offsets: [B + 1]; row i is `data_C[offsets[i]:offsets[i + 1]]`.

        Returns:
            How many elements each row holds (0: the row is not plain), and of these rows, one after another, the
            atomic numbers, ascending within a row, and the amounts.
        """
        rows = len(offsets) - 1
        data_C = data_C[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
        kind_C = _KIND[data_C]
        plain_B = _well_formed(kind_C, offsets)
        start_T = np.flatnonzero(kind_C == _UPPER)
        row_T = np.searchsorted(offsets, start_T, side="right") - 1
        kept = plain_B[row_T]
        start_T, row_T = start_T[kept], row_T[kept]
        end_T = np.minimum(np.append(start_T[1:], len(data_C)), offsets[row_T + 1])
        z_T, number_T = self._symbols(data_C, start_T, end_T)
        amount_T = _amounts(data_C, number_T, end_T)
        bad_T = (z_T == 0) | ~(amount_T >= _SMALLEST)
        row_T, z_T, amount_T, bad_T = _merged(row_T, z_T, amount_T, bad_T)
        plain_B[row_T[bad_T]] = False
        kept = plain_B[row_T]
        return np.bincount(row_T[kept], minlength=rows), z_T[kept], amount_T[kept]

    def _symbols(
        self, data_C: NDArray[np.uint8], start_T: NDArray[np.int64], end_T: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The atomic number of each token, 0 for no element, and where its amount begins."""
        second = np.minimum(start_T + 1, len(data_C) - 1)
        two_T = (start_T + 1 < end_T) & (_KIND[data_C[second]] == _LOWER)
        first_T = data_C[start_T].astype(np.int64) - ord("A")
        second_T = np.where(two_T, data_C[second].astype(np.int64) - ord("a") + 1, 0)
        return self._z[27 * first_T + second_T], start_T + 1 + two_T


def _well_formed(kind_C: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [B]: begins with a capital; small letters stand behind a capital, points between two digits, else digits."""
    before_C = np.concatenate([[0], kind_C])[:-1]
    after_C = np.concatenate([kind_C, [0]])[1:]
    good_C = (kind_C == _UPPER) | (kind_C == _DIGIT)
    good_C |= (kind_C == _LOWER) & (before_C == _UPPER)
    good_C |= (kind_C == _DOT) & (before_C == _DIGIT) & (after_C == _DIGIT)
    filled_B = offsets[1:] > offsets[:-1]
    first, last = offsets[:-1][filled_B], offsets[1:][filled_B] - 1
    good_C[first] = kind_C[first] == _UPPER
    good_C[last] &= kind_C[last] != _DOT  # what follows belongs to the next row
    wrong = np.concatenate([[0], np.cumsum(~good_C)])
    return filled_B & (wrong[offsets[1:]] == wrong[offsets[:-1]])


def _amounts(data_C: NDArray[np.uint8], number_T: NDArray[np.int64], end_T: NDArray[np.int64]) -> NDArray[np.float64]:
    """The amount of each token: 1 where none is written, NaN where it is too long or has two points.

    Digits over a power of ten, both exact as floats, so the quotient is what `float` makes of the text.
    """
    length_T = end_T - number_T
    digits_T, point_T = np.zeros(len(length_T)), np.full(len(length_T), -1)
    twice_T = length_T > _LONGEST
    active = np.flatnonzero((length_T > 0) & ~twice_T)
    for place in range(_LONGEST):
        active = active[length_T[active] > place]
        if not len(active):
            break
        character = data_C[number_T[active] + place]
        dot = character == ord(".")
        digit = active[~dot]
        digits_T[digit] = digits_T[digit] * 10 + (character[~dot] - np.uint8(ord("0")))
        twice_T[active[dot]] |= point_T[active[dot]] >= 0
        point_T[active[dot]] = place
    behind_T = np.where(point_T >= 0, length_T - 1 - point_T, 0)
    amount_T = np.where(length_T > 0, digits_T / _TENS[np.minimum(behind_T, _LONGEST)], 1.0)
    return np.where(twice_T, np.nan, amount_T)


def _merged(
    row_T: NDArray[np.int64], z_T: NDArray[np.uint8], amount_T: NDArray[np.float64], bad_T: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    """Tokens by row and atomic number, those of one element added up.

    A sum of whole numbers is exact in whatever order; one of others hangs on the order, and is bad.
    """
    key_T = row_T * 256 + z_T
    if (key_T[1:] <= key_T[:-1]).any():
        order = np.argsort(key_T, kind="stable")
        key_T, row_T, z_T, amount_T, bad_T = key_T[order], row_T[order], z_T[order], amount_T[order], bad_T[order]
    first_T = np.concatenate([[True], key_T[1:] != key_T[:-1]])[: len(key_T)]
    if first_T.all():
        return row_T, z_T, amount_T, bad_T
    starts = np.flatnonzero(first_T)
    times = np.diff(np.append(starts, len(key_T)))
    exact_T = (amount_T == np.floor(amount_T)) & (amount_T <= _LARGEST)
    bad_T = np.logical_or.reduceat(bad_T | (np.repeat(times > 1, times) & ~exact_T), starts)
    return row_T[starts], z_T[starts], np.add.reduceat(amount_T, starts), bad_T
