"""What the records of a model's members say, held against the headers of their files before anything is made of them.

A record may come from anyone: it may describe a net of a billion layers, name the same weights twice or files that are
not there. So shapes are worked out from what it says, without building a net, and compared with what the files' own
headers name, without reading a tensor. What passes is no larger than its files, whose sizes the model's card knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from xtlray.errors import RequestError, StoreError
from xtlray.nn.limits import MOST_BLOCKS, MOST_MEMBERS, MOST_PROPERTIES, MOST_SOURCES, MOST_WIDTH
from xtlray.nn.nets import net_shapes
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import Shapes, by_prefix, compare_shapes, read_shapes
from xtlray.records import Member
from xtlray.strict import in_short

WEIGHTS = "weights.safetensors"
_PREFIX = re.compile("[A-Za-z0-9_-]{1,40}")  # no dot: what begins with one prefix and a dot belongs to no other


def check_members(records: Sequence[Member], files: Mapping[str, bytes], inputs: int, where: str) -> None:
    """Whether the members can be made of their files.

    Args:
        records: of the members.
        files: by name.
        inputs: F, the width of the elemental fractions.
        where: the model is, for the message.

    Raises:
        StoreError: they cannot; a limit is passed; a file is missing or damaged.
    """
    if not 0 < len(records) <= MOST_MEMBERS:
        raise StoreError(
            "A model has no members, or too many", got=f"{where}: {len(records)}", allowed=f"1 to {MOST_MEMBERS}"
        )
    named = sum(len(record.sources) for record in records)
    if named > MOST_SOURCES:
        raise StoreError(
            "The members of a model name too many sources", got=f"{where}: {named}", allowed=f"at most {MOST_SOURCES}"
        )
    weights = f"{where}/{WEIGHTS}"
    shapes = by_prefix(read_shapes(files[WEIGHTS], weights) if WEIGHTS in files else {})
    _check_names(records, shapes, weights)
    sources = _Sources(files, inputs, where)
    for record in records:
        _check_member(record, shapes.get(record.prefix or "", {}), files, sources, inputs, where)


def no_scales(got: str) -> StoreError:
    """The error for a net on features whose columns' scales are missing, or none that one can divide by."""
    return StoreError("A net on features lacks the scales of its columns", got=got)


def _check_names(records: Sequence[Member], shapes: Mapping[str, Shapes], weights: str) -> None:
    """Each member has tensors, and a head, of its own, and no tensor belongs to none."""
    for kind, given in (
        ("prefix", [r.prefix for r in records if r.prefix]),
        ("head", [r.head for r in records if r.head]),
    ):
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise StoreError(f"Two members of a model share a {kind}", got=f"{weights}: {in_short(twice[0])}")
    for record in records:
        if record.prefix and not _PREFIX.fullmatch(record.prefix):
            raise StoreError("A member of a model has no prefix of ours", got=f"{weights}: {in_short(record.prefix)}")
    strange = sorted(shapes.keys() - {record.prefix for record in records})
    if strange:
        examples = (f"{prefix}.{min(shapes[prefix])}".removeprefix(".") for prefix in strange[:5])
        shown = in_short(", ".join(examples))
        raise StoreError("A weights file holds tensors of no member", got=f"{weights}: {shown}")


class _Sources:
    """The nets that make features, each file looked at once."""

    def __init__(self, files: Mapping[str, bytes], inputs: int, where: str) -> None:
        self.files, self.inputs, self.where = files, inputs, where
        self.shapes: dict[str, Shapes] = {}

    def check(self, described: Mapping[str, Any]) -> None:
        name = described["file"]
        if not isinstance(name, str) or name not in self.files:
            shown = in_short(str(name))
            raise StoreError("A member of a model lacks a source of its features", got=f"{self.where}: {shown}")
        place = f"{self.where}/{name}"
        if name not in self.shapes:
            self.shapes[name] = read_shapes(self.files[name], place)
        compare_shapes(
            _shapes(described.get("net"), described.get("scaler"), self.inputs, self.where), self.shapes[name], place
        )


def _check_member(
    record: Member, own: Shapes, files: Mapping[str, bytes], sources: _Sources, inputs: int, where: str
) -> None:
    expected: Shapes = {}
    if record.kind == "constant":
        if record.value is None:
            raise StoreError("A member of a model lacks its value", got=f"{where}: a constant without one")
    elif record.kind == "net" or record.blocks is None:  # in old cards a head reads a net of its own
        expected |= _shapes(record.net, record.scaler, inputs, where)
    else:
        expected |= _of_sources(record, sources, inputs, where)
    if record.kind == "head" and (record.head is None or record.head not in files):
        raise StoreError("A member of a model lacks its head", got=f"{where}: {in_short(str(record.head))}")
    if record.kind == "head" and record.bounds is not None and record.bounds[0] > record.bounds[1]:
        raise StoreError("A head's answers are kept between no bounds", got=f"{where}: {record.bounds}")
    if record.kind == "feature-net":
        center = own.get("columns.center", ())
        if own.get("columns.spread") != center or len(center) != 1 or not 0 < center[0] <= MOST_WIDTH:
            raise no_scales(f"{where}/{WEIGHTS}")
        expected |= {"columns.center": center, "columns.spread": center}
        body = _shapes(record.net, record.scaler, center[0], where)
        expected |= {f"net.{name}": shape for name, shape in body.items()}
    compare_shapes(expected, own, f"{where}/{WEIGHTS}")


def _of_sources(record: Member, sources: _Sources, inputs: int, where: str) -> Shapes:
    """The tensors of a member's own copies of its sources, as old cards have them; others are files of their own."""
    if len(record.blocks or ()) > MOST_BLOCKS or len(record.sources) > MOST_BLOCKS:
        raise StoreError(
            "A member of a model reads too many blocks of columns",
            got=f"{where}: {len(record.blocks or ())} of {len(record.sources)} sources",
            allowed=f"at most {MOST_BLOCKS}",
        )
    expected: Shapes = {}
    for k, described in enumerate(record.sources):
        if "file" in described:
            sources.check(described)
        else:
            copy = _shapes(described.get("net"), described.get("scaler"), inputs, where)
            expected |= {f"source{k}.{name}": shape for name, shape in copy.items()}
    return expected


def _shapes(net: Any, scaler: Any, inputs: int, where: str) -> Shapes:
    """The tensors of a net as a record describes it. Raises `StoreError` where it describes none of ours."""
    if net is None or scaler is None:
        raise StoreError("A member of a model lacks its net", got=f"{where}: a net without description or scaler")
    try:
        outputs = len(TargetScaler.from_json(scaler).mean)
        if outputs > MOST_PROPERTIES:
            raise ValueError(f"{outputs} properties, and at most {MOST_PROPERTIES} may be")
        return net_shapes(dict(net), inputs, outputs)
    except (RequestError, KeyError, ValueError, TypeError) as error:  # what a card says is not what a user asked for
        shown = in_short(f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error))
        raise StoreError("A member of a model describes no net of ours", got=f"{where}: {shown}") from error
