"""The methods by name: one file and one entry each. The first ten are those of Table 1 of Gupta et al. (2021)."""

from __future__ import annotations

from collections.abc import Iterable

from xtlray.errors import unknown
from xtlray.transfer.method import Method
from xtlray.transfer.methods import (
    base,
    sc_dl_ef,
    sc_dl_pa,
    sc_ml_ef,
    sc_ml_pa,
    tl_dl_featextr,
    tl_dl_mixed,
    tl_finetune,
    tl_freeze,
    tl_ml_featextr,
    tl_ml_mixed,
    tl_modfinetune,
)

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        base,
        sc_ml_ef,
        sc_ml_pa,
        sc_dl_ef,
        sc_dl_pa,
        tl_ml_featextr,
        tl_dl_featextr,
        tl_finetune,
        tl_modfinetune,
        tl_freeze,
        tl_ml_mixed,
        tl_dl_mixed,
    )
}


def get_method(name: str) -> Method:
    """The method of that name. Raises `UnknownNameError` with the nearest names."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def needs_attributes(names: Iterable[str]) -> bool:
    """Whether one of these methods reads physical attributes."""
    return any(get_method(name).needs_attributes for name in names)
