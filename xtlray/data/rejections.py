"""The rows of a table that cannot be kept: by reason, counted, and each of them written down."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xtlray.errors import RequestError
from xtlray.records import Rejection, SourceFile

LIMIT = 0.01
"""The share of rejected rows above which a table is refused unless its owner allows it."""

FORMULA_MISSING, FORMULA_UNPARSABLE = "formula missing", "formula cannot be parsed"
_FIRST = 5


@dataclass(frozen=True)
class Rejections:
    """The rejected rows of a table of `rows_read` rows.

    Attributes:
        kind: the kind of rejection by row from 0, in the order of rows; a row has one, its formula's before its
            target's.
        detail: what exactly is wrong, by row, where there is more to say than the kind.
    """

    rows_read: int
    kind: dict[int, str]
    detail: dict[int, str]

    @classmethod
    def of(cls, rows_read: int, formula_reasons: dict[int, str], target_reasons: dict[int, str]) -> Rejections:
        """Join what the parser of formulas and the reader of numbers found."""
        kind = dict(target_reasons)
        for row, reason in formula_reasons.items():
            kind[row] = FORMULA_MISSING if reason == FORMULA_MISSING else FORMULA_UNPARSABLE
        detail = {row: reason for row, reason in formula_reasons.items() if kind[row] == FORMULA_UNPARSABLE}
        return cls(rows_read, dict(sorted(kind.items())), detail)

    def __len__(self) -> int:
        return len(self.kind)

    def kept(self) -> np.ndarray:
        """The rows that are not rejected, from 0."""
        mask = np.ones(self.rows_read, bool)
        mask[list(self.kind)] = False
        return np.flatnonzero(mask)

    def summary(self) -> list[Rejection]:
        """Count and first row numbers (from 1) of each kind, the commonest first."""
        rows: dict[str, list[int]] = {}
        for row, kind in self.kind.items():
            rows.setdefault(kind, []).append(row + 1)
        ordered = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
        return [Rejection(reason=kind, count=len(found), first_rows=found[:_FIRST]) for kind, found in ordered]

    def check(self, name: str, allowed: bool) -> None:
        """Refuse a table that would be left without rows, or lose more of them than `LIMIT`.

        Raises:
            RequestError: with the kinds, counts and first rows.
        """
        if len(self) == self.rows_read:
            got = self._words() if self.kind else "no rows at all"
            raise RequestError(f"No row of {name} can be kept", got=got, allowed="formulas and finite numbers")
        if len(self) > LIMIT * self.rows_read and not allowed:
            raise RequestError(
                f"{len(self):,} of the {self.rows_read:,} rows of {name} cannot be kept",
                got=self._words(),
                allowed=f"up to {LIMIT:.0%} of the rows",
                fix="mend these rows, or leave them out with --allow-rejected",
            )

    def _words(self) -> str:
        return "; ".join(self._one(entry) for entry in self.summary())

    def _one(self, entry: Rejection) -> str:
        shown = ", ".join(map(str, entry.first_rows)) + (", …" if entry.count > len(entry.first_rows) else "")
        first = self.detail.get(entry.first_rows[0] - 1)
        return f"{entry.reason}: {entry.count:,} (row{'s' * (entry.count > 1)} {shown}" + (
            f": {first})" if first else ")"
        )

    def as_csv(self, formulas: Sequence[Any], targets: Sequence[Any], files: Sequence[SourceFile]) -> tuple[str, bytes]:
        """Every rejected row as a CSV: its file name, which tells its content, and its bytes.

        Rows are numbered from 1 as in the report: on from one file to the next.
        """
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(["row", "file", "formula", "target", "reason"])
        ends = np.cumsum([file.rows for file in files])
        for row, kind in self.kind.items():
            place = int(np.searchsorted(ends, row, side="right"))
            file = files[place].name if place < len(files) else ""
            cells = ["" if cell is None else cell for cell in (formulas[row], targets[row])]
            reason = f"{kind}: {self.detail[row]}" if row in self.detail else kind
            writer.writerow([row + 1, file, *cells, reason])
        data = sink.getvalue().encode()
        return f"rejected-{hashlib.sha256(data).hexdigest()[:8]}.csv", data
