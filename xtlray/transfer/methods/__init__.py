"""The methods by name: one file and one entry each."""

from __future__ import annotations

from xtlray.errors import unknown
from xtlray.transfer.method import Method
from xtlray.transfer.methods import base, featextr, finetune, scratch

METHODS: dict[str, Method] = {
    method.name: method for method in (base.METHOD, scratch.METHOD, finetune.METHOD, featextr.METHOD)
}


def get_method(name: str) -> Method:
    """The method of that name. Raises `UnknownNameError` with the nearest names."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
