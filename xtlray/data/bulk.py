"""Predictions at any size: files in, a folder of parts out, by as many processes as there are.

A piece of an input file is the unit of all: one process reads it, has it answered and writes its part. So memory does
not grow with the input, and what was interrupted goes on with the parts that are missing. Which model answers, this
layer is not told: it has a function that makes one, in each process, of texts to columns. `crew.py` has the processes.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any, Protocol

import pyarrow as pa

from xtlray import provenance
from xtlray.data.pieces import Reader, Span, reader_of, survey
from xtlray.data.prediction_folder import (
    MANIFEST,
    PLAN,
    Manifest,
    PartRows,
    Plan,
    Refusal,
    pack_part,
    part_name,
    read_parts,
)
from xtlray.data.predictions import ANSWERS, carried_names
from xtlray.data.read import Table
from xtlray.data.sources import InputFile
from xtlray.errors import RequestError, WorkError
from xtlray.store import Store

log = logging.getLogger("xtlray.predict")

Answer = Callable[[pa.Array], Mapping[str, pa.Array]]
"""Formulas to the columns `value, unit, spread, lower, upper, warning`."""

_BIG = 64 << 20  # bytes of a CSV that is worth a process of its own to be looked through
_AT_ONCE = 16
_SAID_EVERY = 10.0  # seconds
_DEAD = 5.0  # seconds without a change, after which nobody writes to a file that is being put in place


Look = list[Span] | str


def look(file: InputFile) -> Look:
    """The pieces of a file, or why it is no table."""
    try:
        return survey(file)
    except RequestError as error:
        return _why(error)


def _why(error: RequestError) -> str:
    return f"{error.what} ({error.got})" if error.got else error.what


@dataclass(frozen=True)
class Job:
    """What a process has to know.

    Attributes:
        files: to read, by their places in the plan.
        output: the folder of the parts.
        plan: its identity.
        load: makes the model that answers, in the process that calls it.
    """

    files: tuple[InputFile, ...]
    output: Store
    plan: str
    load: Callable[[], Answer]


@dataclass(frozen=True)
class Piece:
    """A piece of an input file, which becomes a part."""

    file: int
    number: int
    span: Span

    def as_item(self) -> dict[str, int]:
        return {"file": self.file, "number": self.number, **asdict(self.span)}

    @classmethod
    def of_item(cls, item: Mapping[str, Any]) -> Piece:
        return cls(item["file"], item["number"], Span(item["start"], item["rows"], item["offset"]))


class Crew(Protocol):
    """Processes that work."""

    def look(self, files: Sequence[InputFile]) -> list[Look]:
        """What `look` finds in each file."""
        ...

    def make(self, job: Job, pieces: Sequence[Piece]) -> Iterator[PartRows | Refusal]:
        """What `Worker.make` makes of each piece, in whatever order."""
        ...


# --- the whole work --------------------------------------------------------------------------------------------------


def predict_all(job: Job, plan: Plan, crew: Callable[[], AbstractContextManager[Crew]]) -> Manifest:
    """Write the parts that are missing, then the manifest.

    Args:
        job: the work; its folder holds the plan.
        plan: which parts there are to be.
        crew: gets the processes; called once at most, if there is work for them.

    Raises:
        WorkError: an input file changed meanwhile; what the model or a store raised.
    """
    done = _complete(job)
    if done is not None:
        return done
    with ExitStack() as stack:
        workers = cache(lambda: stack.enter_context(crew()))
        found, refused = _survey(job.files, workers)
        pieces = {part_name(p.file, p.number, job.files[p.file].url): p for p in found}
        parts = read_parts(job.output, sorted(pieces.keys() & set(job.output.list(""))), job.plan)
        if parts:
            log.info("%d of %d parts are there already", len(parts), len(pieces))
        missing = [piece for name, piece in pieces.items() if name not in parts]
        tell = _Progress(sum(part.rows for part in parts.values()), sum(piece.span.rows for piece in found))
        for answer in workers().make(job, missing) if missing else ():
            if isinstance(answer, Refusal):
                refused.append(answer)
            else:
                parts[answer.part] = answer
                tell.more(answer.rows)
    refuse_changes(job.files)
    return _finish(job, plan, [parts[name] for name in sorted(parts)], refused)


def _survey(files: Sequence[InputFile], crew: Callable[[], Crew]) -> tuple[list[Piece], list[Refusal]]:
    """The pieces of all files, and the files that are no tables."""
    big = [i for i, file in enumerate(files) if file.size > _BIG and not file.url.lower().endswith((".parquet", ".pq"))]
    elsewhere = big if len(big) > 1 else []
    here = sorted(set(range(len(files))) - set(elsewhere))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        looks = dict(zip(here, pool.map(look, [files[i] for i in here]), strict=True))
    if elsewhere:
        looks |= dict(zip(elsewhere, crew().look([files[i] for i in elsewhere]), strict=True))
    pieces, refused = [], []
    for i, found in sorted(looks.items()):
        if isinstance(found, str):
            refused.append(Refusal(file=files[i].url, reason=found, start=None))
        else:
            pieces += [Piece(i, number, span) for number, span in enumerate(found)]
    return pieces, refused


def _complete(job: Job) -> Manifest | None:
    """The manifest, if there is one and all of its parts are there."""
    if not job.output.exists(MANIFEST):
        return None
    found = Manifest.read(job.output.get_json(MANIFEST), job.output.url_of(MANIFEST))
    if {part.part for part in found.parts} <= set(job.output.list("")):
        _sweep(job.output, found)
        return found
    return None


def _finish(job: Job, plan: Plan, parts: Sequence[PartRows], refused: Sequence[Refusal]) -> Manifest:
    made = Manifest(
        plan=plan,
        rows=sum(part.rows for part in parts),
        unanswered=sum(part.unanswered for part in parts),
        parts=list(parts),
        refused=sorted(refused, key=lambda each: (each.file, each.start or 0)),
        versions=provenance.versions(),
    )
    job.output.create_json(MANIFEST, made.as_json())
    _sweep(job.output, made)
    return made


def _sweep(output: Store, made: Manifest) -> None:
    """Remove what killed writers left of files of this folder: a store on disk puts a file in place by a second name.

    Whatever reads all files of a folder would stumble over it.
    """
    if output.local_path is None:
        return
    names = {PLAN, MANIFEST, *(part.part for part in made.parts)}
    for path in output.local_path.iterdir():
        name = re.sub(r"#\d+$", "", path.name)
        if name != path.name and name in names and time.time() - path.stat().st_mtime > _DEAD:
            path.unlink(missing_ok=True)


def refuse_changes(files: Sequence[InputFile]) -> None:
    """Raises `WorkError` where a file is another one than when the folder was begun."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        now = list(pool.map(InputFile.again, files))
    changed = [before.url for before, after in zip(files, now, strict=True) if before != after]
    if changed:
        raise WorkError(
            "An input file was changed while it was read",
            got=", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else ""),
            fix="predict again into another folder",
        )


class _Progress:
    """Says now and then how many rows are done."""

    def __init__(self, before: int, total: int) -> None:
        self._before, self._done, self._total = before, before, total
        self._began = self._said = time.monotonic()

    def more(self, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        if now - self._said >= _SAID_EVERY:
            self._said = now
            rate = (self._done - self._before) / (now - self._began)
            share = self._done / max(1, self._total)
            log.info(
                "%s of %s rows, %s rows/s",
                f"{self._done:,}",
                f"{self._total:,}",
                f"{rate:,.0f}",
                extra={"share": share},
            )


# --- one piece -------------------------------------------------------------------------------------------------------


class Worker:
    """In a process of its own: turns pieces into parts, one after another."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open: tuple[int, Reader] | None = None

    @cached_property
    def _answer(self) -> Answer:
        # Not when the process starts: of an error there Ray keeps only the text, one in a piece comes through as it is.
        return self._job.load()

    def make(self, piece: Piece) -> PartRows | Refusal:
        """Write the part of a piece, unless it is there. Raises `WorkError` where the file has changed."""
        file = self._job.files[piece.file]
        try:
            found = self._reader(piece.file).read(piece.span)
        except RequestError as error:
            self._open, found = None, error
        refuse_changes([file])  # since it was opened: what is made now counts as of the file that was planned
        if isinstance(found, RequestError):
            return Refusal(file=file.url, reason=_why(found), start=piece.span.start)
        answered = with_answers(found, file.url, self._answer)
        name = part_name(piece.file, piece.number, file.url)
        unanswered = answered["value"].null_count
        about = PartRows(
            part=name, file=piece.file, start=piece.span.start, rows=answered.num_rows, unanswered=unanswered
        )
        self._job.output.create(name, pack_part(answered, self._job.plan, about))
        return about

    def _reader(self, file: int) -> Reader:
        """The file, left open where the last piece ended: what lies behind is reached soonest from there."""
        if self._open is None or self._open[0] != file:
            if self._open is not None:
                self._open[1].close()
            refuse_changes([self._job.files[file]])
            self._open = (file, reader_of(self._job.files[file]))
        return self._open[1]


def with_answers(table: pa.Table, path: str, answer: Answer) -> pa.Table:
    """The answers for a table's formulas first, then its own columns, named as `carry_through` names them."""
    column = Table(path, dict(zip(table.column_names, table.columns, strict=True)), "").formula_column()
    formulas = table[column].cast(pa.string()).combine_chunks()
    found = {**answer(formulas), "formula": formulas}
    columns = {name: found[name] for name in ANSWERS}
    columns |= {carried: table[name] for name, carried in carried_names(table.column_names, column).items()}
    return pa.table(columns)
