"""Errors: one message that can be acted on, exit codes, nearest names, and crossing to another process unharmed."""

from __future__ import annotations

import copy

import pytest

from xtlray.errors import (
    MissingKeyError,
    RequestError,
    StoreError,
    UnknownNameError,
    WorkError,
    XtlrayError,
    nearest,
    unknown,
)


def test_message_joins_the_parts_in_order_and_closes_each_once() -> None:
    error = RequestError("The batch is too small.", got="batch: 0", allowed="1 or more", fix="set batch: 512.")
    assert str(error) == "The batch is too small. Got: batch: 0. Allowed: 1 or more. To mend it: set batch: 512."
    assert str(WorkError("It failed")) == "It failed."


@pytest.mark.parametrize(
    ("kind", "code", "builtin"),
    [
        (RequestError, 2, ValueError),
        (UnknownNameError, 2, LookupError),
        (WorkError, 1, RuntimeError),
        (StoreError, 1, RuntimeError),
        (MissingKeyError, 1, LookupError),
    ],
)
def test_exit_code_and_builtin_kin(kind: type[XtlrayError], code: int, builtin: type[Exception]) -> None:
    assert kind("x").exit_code == code
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", [RequestError, UnknownNameError, WorkError, StoreError, MissingKeyError])
def test_error_crosses_a_process_border_whole(kind: type[XtlrayError]) -> None:
    # copy goes by __reduce_ex__, as pickling does.
    twin = copy.copy(kind("What", got="g", allowed="a", fix="f"))
    assert type(twin) is kind
    assert (twin.what, twin.got, twin.allowed, twin.fix) == ("What", "g", "a", "f")
    assert str(twin) == "What. Got: g. Allowed: a. To mend it: f."


KNOWN = ["jarvis/bulkmoduluskv", "jarvis/shearmodulusgv", "jarvis/slme", "oqmd/band_gap", "oqmd/formation_energy"]


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ("jarvis/bulkmodulus", "jarvis/bulkmoduluskv"),
        ("oqmd/bandgap", "oqmd/band_gap"),
        ("OQMD/Band_Gap", "oqmd/band_gap"),
        ("formation_energy", "oqmd/formation_energy"),
        ("slme", "jarvis/slme"),
    ],
)
def test_nearest_known_name_comes_first(given: str, first: str) -> None:
    assert nearest(given, KNOWN)[0] == first


def test_nearest_is_empty_where_nothing_is_close() -> None:
    assert nearest("zzzzzz", KNOWN) == []


def test_unknown_offers_the_nearest_names_and_the_fix() -> None:
    message = str(unknown("dataset", "oqmd/bandgap", KNOWN, fix="see xtlray data list"))
    assert message.startswith("There is no dataset of that name. Got: 'oqmd/bandgap'. Allowed: nearest known name")
    assert "oqmd/band_gap" in message
    assert message.endswith("To mend it: see xtlray data list.")


def test_unknown_lists_all_of_a_few_names_and_counts_many() -> None:
    assert "Allowed: adam, sgd." in str(unknown("optimizer", "qqq", ["sgd", "adam"]))
    assert "Allowed: 40 known names, none of them close." in str(unknown("model", "qqq", map(str, range(100, 140))))
    assert "Allowed: there is none yet." in str(unknown("model", "qqq", []))
