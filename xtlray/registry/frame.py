"""A table whose columns of text are looked at value by value, not row by row: there are far fewer of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pyarrow as pa

from xtlray.registry import columns
from xtlray.registry.columns import Reals, Truths, Wholes
from xtlray.registry.segments import codes_of


class Frame:
    """Rows of the library (`segments.SCHEMA`), to be filtered and sorted."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._text: dict[str, tuple[Wholes, list[str]]] = {}

    def __len__(self) -> int:
        return len(self.table)

    def text(self, column: str) -> tuple[Wholes, list[str]]:
        """Of each row the place of its value, -1 where there is none, and the values."""
        if column not in self._text:
            self._text[column] = columns.codes(self.table[column])
        return self._text[column]

    def values(self, column: str) -> list[str]:
        """The values of a column of text, each once."""
        return self.text(column)[1]

    def where(self, column: str, fits: Callable[[str], bool]) -> Truths:
        """The rows whose value fits."""
        codes, values = self.text(column)
        return np.array([*map(fits, values), False])[codes]  # the last one is of rows without a value

    def number(self, column: str) -> Reals:
        """A column of numbers, NaN where there is none."""
        return columns.reals(self.table[column])

    @cached_property
    def version(self) -> Wholes:
        """A number per row that rows of one version share."""
        return codes_of(self.text("name")[0], columns.wholes(self.table["version"]))

    def rank(self, column: str, rows: Wholes) -> Wholes:
        """Of some rows the place of each value when theirs are sorted, of a column of text; -1 where there is none."""
        codes, values = self.text(column)
        distinct, back = np.unique(codes[rows], return_inverse=True)
        ordered = sorted(range(len(distinct)), key=lambda n: values[distinct[n]] if distinct[n] >= 0 else "")
        places = np.empty(len(distinct), np.int64)
        places[ordered] = np.arange(len(distinct))
        return np.where(distinct >= 0, places, -1)[back]
