"""Compositions to the dense input of a net: one column per element that the net knows, its atomic fraction within.

Which elements a net knows is part of the net (ElemNet: 86 of 118). A composition with another element is not
squeezed in; the encoder names it, and who calls decides whether to refuse or to count it.

Shapes: B rows, E elements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xtlray.chem.formula import SYMBOLS, Compositions
from xtlray.errors import RequestError

_NOT_IN_ELEMNET = ("He", "Ne", "Ar", "Po", "At", "Rn", "Fr", "Ra")

ELEMNET_ELEMENTS: tuple[str, ...] = tuple(s for s in SYMBOLS[:94] if s not in _NOT_IN_ELEMNET)
"""The 86 elements of the published ElemNet: H to Pu without He, Ne, Ar, Po, At, Rn, Fr and Ra."""


@dataclass(frozen=True)
class FractionEncoder:
    """Turns compositions into `x_BE`; column j is the atomic fraction of `elements[j]`."""

    elements: tuple[str, ...] = ELEMNET_ELEMENTS

    def __post_init__(self) -> None:
        unknown = [symbol for symbol in self.elements if symbol not in SYMBOLS]
        if unknown or len(set(self.elements)) < len(self.elements):
            raise RequestError(
                "An encoder needs a list of different element symbols",
                got=", ".join(unknown) if unknown else "a symbol twice",
                allowed="symbols from H to Og, each once",
            )

    def encode(self, compositions: Compositions) -> np.ndarray:
        """float32 [B, E] of atomic fractions.

        Raises:
            RequestError: a row is empty or holds an element that has no column; `encodable` tells which do not.
        """
        column = self.columns(compositions)
        if (column < 0).any() or (compositions.counts == 0).any():
            raise self._refusal(compositions)
        x_BE = np.zeros((len(compositions), len(self.elements)), np.float32)
        x_BE.reshape(-1)[compositions.rows() * len(self.elements) + column] = compositions.fraction
        return x_BE

    def encodable(self, compositions: Compositions) -> np.ndarray:
        """bool [B]: whether the row holds elements, all of which have a column."""
        foreign = self._columns()[compositions.z] < 0
        answer = compositions.counts > 0
        answer[compositions.rows()[foreign]] = False
        return answer

    def columns(self, compositions: Compositions) -> np.ndarray:
        """int64, as long as `compositions.z`: the column of each element, -1 where there is none."""
        return self._columns()[compositions.z]

    def missing(self, compositions: Compositions) -> dict[int, list[str]]:
        """For each row with elements that have no column: which, by ascending atomic number."""
        foreign = np.flatnonzero(self._columns()[compositions.z] < 0)
        found: dict[int, list[str]] = {}
        for row, z in zip(compositions.rows()[foreign].tolist(), compositions.z[foreign].tolist(), strict=True):
            found.setdefault(row, []).append(SYMBOLS[z - 1])
        return found

    def _columns(self) -> np.ndarray:
        """int64 [256]: the column of each atomic number, -1 where there is none."""
        columns = np.full(256, -1, np.int64)
        for j, symbol in enumerate(self.elements):
            columns[SYMBOLS.index(symbol) + 1] = j
        return columns

    def _refusal(self, compositions: Compositions) -> RequestError:
        missing = self.missing(compositions)
        if not missing:
            row = int(np.flatnonzero(compositions.counts == 0)[0])
            return RequestError("A composition without elements cannot be encoded", got=f"row {row}")
        row, symbols = next(iter(missing.items()))
        return RequestError(
            "A composition holds an element that this net cannot encode",
            got=f"{', '.join(symbols)} in row {row}" + (f" and {len(missing) - 1} more rows" * (len(missing) > 1)),
            allowed=f"{len(self.elements)} elements, {self.elements[0]} to {self.elements[-1]}",
            fix="leave these rows out",
        )
