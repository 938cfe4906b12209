"""JSON from strangers: it has one meaning, is bounded, and holds nothing that a terminal would obey.

A card in a store may have been written by anybody. Python's own reader takes the last of two equal keys, numbers that
are none, and as many brackets as there are; and a control character in a label would steer the terminal that shows it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from xtlray.errors import StoreError

DEEPEST = 40
"""How many lists and mappings may lie inside each other."""

_LARGEST = 2**63  # of whole numbers
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and line feed; halves of characters
_SHOWN = 120


def read_json(data: bytes, where: str, most: int, what: str = "A file in the store") -> Any:
    """The JSON value that `data` holds.

    Args:
        data: its bytes.
        where: they lie, for the message.
        most: bytes that it may have.
        what: it is, for the message.

    Raises:
        StoreError: it is too long or nested too deeply, no UTF-8, no JSON; it has a key twice, a number that is not
            finite or beyond 64 bits, or a text with control characters.
    """
    try:
        if len(data) > most:
            raise ValueError(f"{len(data):,} bytes, and at most {most:,} may be")
        value = json.loads(
            data.decode(),
            object_pairs_hook=_without_doubles,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
        _look_through(value)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else in_short(str(error))
        raise StoreError(
            f"{what} is not the JSON that it should be",
            got=f"{where}: {reason}",
            fix="restore the file, or remove what it belongs to and make it again",
        ) from error
    return value


def in_short(text: str) -> str:
    """A stranger's text as it may stand in a message: no control characters, not too long."""
    text = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text).replace("\n", " ")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def without_control(value: Any) -> Any:
    """A JSON value with a blank in the place of each control character, so that `read_json` takes it."""
    if isinstance(value, str):
        return _CONTROL.sub(" ", value)
    if isinstance(value, dict):
        return {without_control(key): without_control(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_control(each) for each in value]
    return value


def _look_through(value: Any) -> None:
    level, depth = [value], 0
    while level:
        inside: list[Any] = []
        for each in level:
            if isinstance(each, str):
                found = _CONTROL.search(each)
                if found:
                    raise ValueError(f"a text holds the control character {found[0]!a}")
            elif isinstance(each, (dict, list)):
                if depth == DEEPEST:
                    raise RecursionError
                inside += each
                inside += each.values() if isinstance(each, dict) else ()
        level, depth = inside, depth + 1


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text} is not finite")
    return value


def _whole(text: str) -> int:
    # Digits first: what has millions of them takes long to be read.
    if len(text) > 20 or not -_LARGEST <= int(text) < _LARGEST:
        raise ValueError(f"a whole number of {len(text.lstrip('-'))} digits")
    return int(text)
