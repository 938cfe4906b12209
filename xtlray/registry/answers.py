"""What a model answers for many formulas, as columns and not as an object per row.

Shape suffixes: B rows, G rows that are answered, K members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xtlray.chem.formula import SYMBOLS, Compositions
from xtlray.data.inputs import InputEncoder
from xtlray.errors import StoreError
from xtlray.nn.interval import Interval, spread, spread_between
from xtlray.nn.members import LiveMember, answers_of
from xtlray.records import ModelCard, PropertyCard
from xtlray.strict import in_short

Array = NDArray[np.float64]
_ROWS_AT_ONCE = 65536  # bounds the memory of inputs, however many rows there are
_FEW = 512  # rows that are answered in one go, whatever they hold


@dataclass(frozen=True)
class Answers:
    """Answers in the order of their formulas.

    Attributes:
        unit: of the values; None where it is not known.
        answered_B: whether there is an answer; where there is none, the numbers are NaN.
        value_B: in `unit`.
        spread_B: over the model's members.
        half_B: half the width of the interval around the value; None where the model has none.
        warning_B: places in `warnings`, -1 for none.
        warnings: each text once.
    """

    unit: str | None
    answered_B: NDArray[np.bool_]
    value_B: Array
    spread_B: Array
    half_B: Array | None
    warning_B: NDArray[np.int32]
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.value_B)

    @property
    def lower_B(self) -> Array:
        """Where the interval begins; NaN where there is none."""
        return np.full(len(self), np.nan) if self.half_B is None else self.value_B - self.half_B

    @property
    def upper_B(self) -> Array:
        """Where the interval ends; NaN where there is none."""
        return np.full(len(self), np.nan) if self.half_B is None else self.value_B + self.half_B

    def rows(self) -> Iterator[tuple[float | None, float | None, float | None, float | None, str | None]]:
        """Value, spread, lower, upper and warning of each row, None where there is none."""
        ranged_B = self.answered_B & (self.half_B is not None)
        values, spreads = (_or_none(each, self.answered_B) for each in (self.value_B, self.spread_B))
        lower, upper = (_or_none(each, ranged_B) for each in (self.lower_B, self.upper_B))
        texts = (*self.warnings, None)
        return zip(values, spreads, lower, upper, [texts[code] for code in self.warning_B.tolist()], strict=True)

    def columns(self) -> dict[str, pa.Array]:
        """Value, unit, spread, lower, upper and warning as Arrow's columns, null where there is none."""
        codes = pa.array(self.warning_B, mask=self.warning_B < 0)
        return {
            "value": pa.array(self.value_B, from_pandas=True),
            "unit": pa.repeat(pa.scalar(self.unit, pa.string()), len(self)),
            "spread": pa.array(self.spread_B, from_pandas=True),
            "lower": pa.array(self.lower_B, from_pandas=True),
            "upper": pa.array(self.upper_B, from_pandas=True),
            "warning": pa.array(self.warnings, pa.string()).take(codes),
        }


@dataclass(frozen=True)
class Answerer:
    """The parts of a model that answer for one of its properties.

    Attributes:
        members: ready to answer.
        encoder: makes their input.
        card: of the model.
        column: the place of the property among those of the model.
    """

    members: Sequence[LiveMember]
    encoder: InputEncoder
    card: ModelCard
    column: int

    def answer(self, compositions: Compositions, reasons: Mapping[int, str]) -> Answers:
        """Answers for parsed formulas.

        Args:
            compositions: of the formulas.
            reasons: why a row has none, by row.
        """
        about = self.card.answers()[self.column]
        value_B, spread_B, half_B = (np.full(len(compositions), np.nan) for _ in range(3))
        able_B = self.encoder.fractions.encodable(compositions)
        work = self._each if len(compositions) <= _FEW else self._padded
        for rows_G in _alike(compositions.counts, np.flatnonzero(able_B)):
            each_KG = work(self.encoder.encode(compositions.take(rows_G)))
            value_B[rows_G], spread_B[rows_G] = self._weights @ each_KG, spread(each_KG, self._weights)
            if self._interval is not None:
                apart_G = spread_between(each_KG, self._weights, [member.group or 0 for member in self.card.members])
                half_B[rows_G] = self._interval.half_width(apart_G)
        warning_B, warnings = self._warnings(compositions, reasons, about, able_B)
        half = None if self._interval is None else half_B
        return Answers(about.unit, able_B, value_B, spread_B, half, warning_B, warnings)

    def _each(self, x_GX: NDArray[np.float32]) -> Array:
        """What each member says, K × G. Raises `StoreError` where one cannot, such as for features beyond numbers."""
        try:
            return answers_of(self.members, x_GX, self.column)
        except ValueError as error:  # scikit-learn's word for infinite columns, and for infinite answers
            where = f"{self.card.name}@{self.card.version}"
            raise StoreError("A member of a model cannot answer", got=f"{where}: {in_short(str(error))}") from error

    def _padded(self, x_GX: NDArray[np.float32]) -> Array:
        """The same, worked out for one of a few numbers of rows."""
        rows = len(x_GX)
        more = _round_number(rows) - rows
        return self._each(np.pad(x_GX, ((0, more), (0, 0)), mode="edge") if more else x_GX)[:, :rows]

    @cached_property
    def _interval(self) -> Interval | None:
        return None if self.card.interval is None else Interval.from_json(self.card.interval)

    @cached_property
    def _weights(self) -> Array:
        """Of the members, adding up to one."""
        weights = [member.weight for member in self.card.members]
        weight_K = np.array([1.0 if weight is None else weight for weight in weights])
        return weight_K / weight_K.sum()

    def _warnings(
        self, compositions: Compositions, reasons: Mapping[int, str], about: PropertyCard, able_B: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Why a row has no answer, else what to know about it."""
        codes: dict[str, int] = {}
        code_B = np.full(len(compositions), -1, np.int32)
        unseen = [symbol for symbol in SYMBOLS if not about.elements_seen.get(symbol)]
        for row, text in _naming(compositions, unseen, able_B, "no training row held {}"):
            code_B[row] = codes.setdefault(text, len(codes))
        foreign = [symbol for symbol in SYMBOLS if symbol not in self.encoder.fractions.elements]
        for row, text in _naming(compositions, foreign, ~able_B, "the model's input cannot hold {}"):
            code_B[row] = codes.setdefault(text, len(codes))
        for row, text in reasons.items():
            code_B[row] = codes.setdefault(text, len(codes))
        return code_B, tuple(codes)


def _alike(count_B: NDArray[np.int64], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows in blocks; where there are many, those of as many elements together.

    oneDNN keeps code for every shape that it has met, a megabyte each, and makes that of a new one in the time of some
    hundred rows. A net may compute on elements: then it is their number that has to be one of a few.
    """
    if len(count_B) <= _FEW:
        groups = [rows] if len(rows) else []
    else:
        rows = rows[np.argsort(count_B[rows], kind="stable")]
        groups = np.split(rows, np.flatnonzero(np.diff(count_B[rows])) + 1) if len(rows) else []
    for group in groups:
        for start in range(0, len(group), _ROWS_AT_ONCE):
            yield group[start : start + _ROWS_AT_ONCE]


def _round_number(rows: int) -> int:
    """The next of a few numbers: powers of two, then multiples of 256."""
    return 1 << (rows - 1).bit_length() if rows < 256 else -(-rows // 256) * 256


def _or_none(each_B: Array, there_B: NDArray[np.bool_]) -> list[float | None]:
    return [number if there else None for number, there in zip(each_B.tolist(), there_B.tolist(), strict=True)]


def _naming(
    compositions: Compositions, symbols: Iterable[str], wanted_B: NDArray[np.bool_], text: str
) -> Iterator[tuple[int, str]]:
    """The wanted rows that hold one of the symbols, each with a text that names those it holds."""
    marked = np.zeros(256, bool)
    marked[[SYMBOLS.index(symbol) + 1 for symbol in symbols]] = True
    entries = np.flatnonzero(marked[compositions.z] & np.repeat(wanted_B, compositions.counts))
    row_N, z_N = compositions.rows()[entries], compositions.z[entries]
    starts = np.flatnonzero(np.concatenate([[True], row_N[1:] != row_N[:-1]])[: len(row_N)])
    flat, texts = z_N.tobytes(), {}
    bounds = [*starts.tolist(), len(flat)]
    for row, start, end in zip(row_N[starts].tolist(), bounds, bounds[1:], strict=False):
        held = flat[start:end]
        if held not in texts:
            texts[held] = text.format(", ".join(SYMBOLS[z - 1] for z in held))
        yield row, texts[held]
