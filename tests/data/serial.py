"""Predictions at scale without Ray and without a model: one piece after another, answered by a formula's length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from xtlray.data.bulk import Job, Look, Piece, Worker, look, predict_all
from xtlray.data.prediction_folder import Manifest, PartRows, Plan, Refusal, claim, planned
from xtlray.data.sources import InputFile, find_inputs
from xtlray.store import Store


class Killed(BaseException):
    """The process ends here."""


class Serial:
    """A crew of nobody but this process.

    Args:
        parts: after how many the process ends; None for never.

    Attributes:
        made: the pieces that it was given, in their order.
    """

    def __init__(self, parts: int | None = None) -> None:
        self.parts = parts
        self.made: list[Piece] = []

    @contextmanager
    def __call__(self) -> Iterator[Serial]:
        yield self

    def look(self, files: Sequence[InputFile]) -> list[Look]:
        return [look(file) for file in files]

    def make(self, job: Job, pieces: Sequence[Piece]) -> Iterator[PartRows | Refusal]:
        worker = Worker(job)
        for piece in pieces:
            if self.parts is not None and len(self.made) >= self.parts:
                raise Killed
            self.made.append(piece)
            yield worker.make(piece)


def lengths() -> Callable[[pa.Array], dict[str, pa.Array]]:
    """A model, loaded: it answers for texts that begin with a capital."""

    def answer(formulas: pa.Array) -> dict[str, pa.Array]:
        assert formulas.type == pa.string()
        good = pc.fill_null(pc.match_substring_regex(formulas, "^[A-Z]"), False)
        value = pc.if_else(good, pc.utf8_length(formulas).cast(pa.float64()), None)
        nothing = pa.nulls(len(formulas), pa.float64())
        return {
            "value": value,
            "unit": pa.repeat(pa.scalar("eV"), len(formulas)),
            "spread": value,
            "lower": nothing,
            "upper": nothing,
            "warning": pc.if_else(good, None, "not this one"),
        }

    return answer


def plan_of(files: Sequence[InputFile], model: str = "user/gap@1") -> Plan:
    """What a folder is begun with."""
    return Plan(asked=model, model=model, card_hash=f"hash of {model}", property="user/gap", files=planned(files))


def run(inputs: Sequence[Path], output: Path, crew: Serial | None = None, model: str = "user/gap@1") -> Manifest:
    """Predict, as the command does."""
    files = find_inputs([str(path) for path in inputs], output.as_uri())
    folder = Store.open(str(output))
    plan = plan_of(files, model)
    claim(folder, plan)
    return predict_all(Job(tuple(files), folder, plan.identity(), lengths), plan, crew or Serial())
