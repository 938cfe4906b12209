"""What lies in a folder of predictions: the parts, what they are predictions of, and last that all is there.

    _plan.json        which model answers, for which files: written first, so nothing else gets into the folder
    <file>-<piece>-<name of the input>.parquet   a part: the answers for a piece of an input file
    _manifest.json    the parts, their rows, the files that could not be read: written last

Each is created once, whole or not at all, under a name that the plan fixes: so an interrupted run is gone on with, and
two at once do no harm. Names that begin with an underscore are passed over by what reads a folder of Parquet files.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from xtlray.data.pieces import BYTES, ROWS
from xtlray.data.sources import ENDINGS, InputFile
from xtlray.errors import RequestError, StoreError
from xtlray.record import Record
from xtlray.store import Store, canonical_json

PLAN, MANIFEST = "_plan.json", "_manifest.json"
_ABOUT = b"xtlray"  # key of what a part says of itself, in its footer
_AT_ONCE = 16
_SHORTEST = 12  # bytes of a Parquet file: what says so at both ends, and a length
_STEM = 40  # characters of an input's name in those of its parts
_SHOWN = 3


class PlannedFile(Record):
    """A file that is predicted for."""

    url: str
    size: int
    tag: str = Field(description="another one where the file's content is another")


class Plan(Record):
    """What a folder of predictions is to hold. Nothing in it hangs on the clock."""

    asked: str = Field(description="the model as the user named it")
    model: str = Field(description="the version that it meant when the folder was begun")
    card_hash: str = Field(description="SHA-256 of the model's card, which holds those of its files")
    property: str
    files: list[PlannedFile]
    rows_per_part: int = ROWS
    bytes_per_part: int = BYTES

    def identity(self) -> str:
        """What all parts of this folder have in common, and those of no other."""
        content = self.as_json()
        del content["asked"]
        return hashlib.sha256(canonical_json(content)).hexdigest()[:16]


class PartRows(Record):
    """A part: the rows of one piece of an input file."""

    part: str
    file: int = Field(description="its place in the plan")
    start: int = Field(description="its first row in that file, from 0")
    rows: int
    unanswered: int = Field(description="rows without a value; their `warning` says why")


class Refusal(Record):
    """An input file, or rows of it, that could not be read."""

    file: str
    reason: str
    start: int | None = Field(description="the first row of the piece; None for the whole file")


class Manifest(Record):
    """A complete folder of predictions."""

    plan: Plan
    rows: int
    unanswered: int
    parts: list[PartRows]
    refused: list[Refusal]
    versions: dict[str, str] = Field(description="of the libraries, in the run that finished it")


def part_name(file: int, number: int, url: str) -> str:
    """The name of a part: the parts of a folder, sorted by name, are in the order of their rows."""
    stem = re.sub(r"(\.csv|\.gz|\.parquet|\.pq)+$", "", PurePosixPath(url).name, flags=re.IGNORECASE)
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:_STEM].strip("-") or "input"
    return f"{file:05d}-{number:05d}-{readable}.parquet"


def read_plan(output: Store) -> Plan | None:
    """The plan of a folder of predictions; None where none was begun there. Raises `StoreError` for a damaged one."""
    return Plan.read(output.get_json(PLAN), output.url_of(PLAN)) if output.exists(PLAN) else None


def claim(output: Store, plan: Plan) -> None:
    """Make `plan` the one of this folder.

    Raises:
        RequestError: it has another already, or other files lie there.
    """
    strange = [name for name in output.children("") if name.lower().endswith(ENDINGS)]
    if not output.exists(PLAN):  # asked after the listing: another run of the same may just have begun
        if strange:
            raise RequestError(
                "The folder of the output holds tables already",
                got=f"{output.url_of('')}: {', '.join(strange[:_SHOWN])}",
                allowed="an empty one, or one that an earlier run of the same prediction began",
                fix="choose another folder for --output",
            )
        output.create_json(PLAN, plan.as_json())
    held = read_plan(output)
    assert held is not None, "written just now, or before"
    if held.identity() != plan.identity():
        raise RequestError(
            "The folder of the output holds predictions of something else",
            got="; ".join(_differences(held, plan)),
            allowed="the model and the input files that it was begun with",
            fix="choose another folder for --output",
        )


def _differences(held: Plan, plan: Plan) -> list[str]:
    """In words, how a plan differs from the one that a folder has."""
    found = []
    if held.card_hash != plan.card_hash:
        also = " of the same name, but of other content" if held.model == plan.model else ""
        found.append(f"it has those of {held.model}, and this is {plan.model}{also}")
    if held.property != plan.property:
        found.append(f"it has those of {held.property}, and this is {plan.property}")
    before = {file.url: file for file in held.files}
    after = {file.url: file for file in plan.files}
    for said, names in (
        ("it has no {}", [name for name in after if name not in before]),
        ("it has {} too", [name for name in before if name not in after]),
        ("{} has changed since", [name for name in after if name in before and after[name] != before[name]]),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            found.append(said.format(", ".join(names[:_SHOWN]) + more))
    return found or ["its files are in another order, or its parts are cut otherwise"]


def planned(files: Sequence[InputFile]) -> list[PlannedFile]:
    """Input files as a plan names them."""
    return [PlannedFile(url=file.url, size=file.size, tag=file.tag) for file in files]


def pack_part(table: pa.Table, plan: str, about: PartRows) -> bytes:
    """A part as bytes, which say in their footer what they are. `plan` is its `identity`."""
    said = canonical_json({"plan": plan, **about.as_json()})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_ABOUT: said}), buffer)
    return buffer.getvalue()


def read_parts(output: Store, names: Sequence[str], plan: str) -> dict[str, PartRows]:
    """What those parts, which lie there, say of themselves, by name.

    Raises:
        StoreError: one is damaged, or of another plan.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(lambda name: _read_about(output, name, plan), names), strict=True))


def _read_about(output: Store, name: str, plan: str) -> PartRows:
    try:
        footer = pq.read_metadata(io.BytesIO(_tail(output, name)))
        said: Mapping[str, Any] = json.loads((footer.metadata or {})[_ABOUT])
        held = said["plan"]
        about = PartRows.read({key: value for key, value in said.items() if key != "plan"}, name)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _strange(output, name, "is no part of predictions") from error
    if held != plan:
        raise _strange(output, name, "is a part of other predictions")
    return about


def _tail(output: Store, name: str) -> bytes:
    """The end of a Parquet file: its footer, the footer's length, and four bytes that say Parquet.

    Raises `ValueError` for what is too short to be one.
    """
    size = output.size(name)
    if size < _SHORTEST:
        raise ValueError(f"{size} bytes")
    length = int.from_bytes(output.get_range(name, size - 8, 4), "little") + 8
    return output.get_range(name, max(0, size - length), length)


def _strange(output: Store, name: str, why: str) -> StoreError:
    return StoreError(
        f"A file in the folder of the output {why}", got=output.url_of(name), fix="remove it and run the command again"
    )
