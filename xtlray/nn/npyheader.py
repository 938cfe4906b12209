"""The headers of numpy's array files, read by a pattern: numpy's own reader takes any expression of Python for one."""

from __future__ import annotations

import math
import re
import zipfile
from typing import Literal

_MAGIC = b"\x93NUMPY\x01\x00"
_NUMBER = r"(?:0|[1-9]\d{0,18})"
_HEADER = re.compile(
    r"\{'descr': (?:'(?P<kind>[<>|][fiub]\d{1,2})'|\[(?P<fields>[^\[\]]*)\]), "
    rf"'fortran_order': (?:True|False), 'shape': \((?P<shape>|{_NUMBER},|{_NUMBER}(?:, {_NUMBER})+)\), \}} *\n"
)
_FIELD = re.compile(r"\('\w*', '[<>|](?P<kind>[fiubV])(?P<bytes>\d{1,3})'\)(?:, |$)")
_LONGEST = 4096
_MOST_AXES = 8


def array_of(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], int | None]:
    """The shape of a numeric array in an archive, and its number where it has but one, a whole one.

    Raises:
        KeyError: there is no such entry.
        ValueError: it is none of numbers alone, as `numpy.save` writes it.
    """
    if not isinstance(name, str) or not name.endswith(".npy"):
        raise ValueError(f"an array in {name!r}")
    with archive.open(name) as file:
        begin = file.read(len(_MAGIC) + 2)
        length = int.from_bytes(begin[-2:], "little")
        header = file.read(min(length, _LONGEST)).decode("latin-1")
        found = _HEADER.fullmatch(header)
        if len(begin) < len(_MAGIC) + 2 or not begin.startswith(_MAGIC) or found is None:
            raise ValueError(f"{name} is no array of numbers")
        size = _bytes(found)
        axes = [int(axis) for axis in found["shape"].replace(" ", "").split(",") if axis]
        if len(axes) > _MOST_AXES:
            raise ValueError(f"{name} has {len(axes)} axes")
        behind = archive.getinfo(name).file_size - len(begin) - length
        if not size or math.prod(axes) * size != behind:
            raise ValueError(f"{name} has a shape of {tuple(axes)} and {behind:,} bytes")
        whole = found["kind"] is not None and found["kind"][1] in "iu"
        order: Literal["little", "big"] = "big" if whole and found["kind"][0] == ">" else "little"
        only = int.from_bytes(file.read(size), order) if whole and math.prod(axes) == 1 else None
    return tuple(axes), only


def _bytes(header: re.Match[str]) -> int:
    """Of one number, or of one record of numbers."""
    if header["kind"]:
        return int(header["kind"][2:])
    fields, place, total = header["fields"], 0, 0
    while place < len(fields):
        field = _FIELD.match(fields, place)
        if field is None:
            raise ValueError(f"records of {fields[place : place + 40]!r}")
        total, place = total + int(field["bytes"]), field.end()
    return total
