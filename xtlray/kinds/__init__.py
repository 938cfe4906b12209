"""Kinds of jobs: one file and one entry each. A job file names its kind, and the kind knows the rest of its keys."""

from __future__ import annotations

from importlib import import_module

from xtlray.errors import unknown
from xtlray.kinds.kind import Kind

# Module and attribute, imported when a job of that kind is met.
KINDS: dict[str, str] = {
    "pretrain": "xtlray.kinds.pretrain:KIND",
    "transfer": "xtlray.kinds.transfer:KIND",
    "pipeline": "xtlray.kinds.pipeline:KIND",
    "learning_curve": "xtlray.kinds.learning_curve:KIND",
    "dataset": "xtlray.kinds.dataset:KIND",
    "bench": "xtlray.kinds.bench:KIND",
}


def get_kind(name: str) -> Kind:
    """The kind of that name. Raises `UnknownNameError` with the nearest names."""
    if name not in KINDS:
        raise unknown("kind of job", name, KINDS)
    module, _, attribute = KINDS[name].partition(":")
    kind: Kind = getattr(import_module(module), attribute)
    return kind
