"""JSON from strangers: what has one meaning is read, everything else is refused with its reason."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from xtlray.errors import StoreError
from xtlray.strict import DEEPEST, in_short, read_json, without_control


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, -2.5, True, None, "µ – 𝔾"], "b": {"c": {}}},
        "a tab\tand a line\nbreak",
        [2**63 - 1, -(2**63), 1e308, 5e-324],
    ],
)
def test_what_has_one_meaning_is_read(value: Any) -> None:
    assert read_json(json.dumps(value).encode(), "here", 1000) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode(), "here", 1000) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"{'a': 1}", "Expecting property name"),
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' is there twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e400]", "1e400 is not finite"),
        (b"[9223372036854775808]", "a whole number of 19 digits"),
        (b"[" + b"1" * 100_000 + b"]", "a whole number of 100000 digits"),
        (b'["\\u0000"]', r"control character '\\x00'"),
        (b'["\\u009b"]', r"control character '\\x9b'"),
        (b'{"\\r": 1}', r"control character '\\r'"),
        (b'["\\udc00"]', r"control character '\\udc00'"),
        (b'["\xff"]', "invalid start byte"),
        (b"\xef\xbb\xbf[]", "BOM"),
        (nested(DEEPEST + 1), "nested too deeply"),
        (nested(100_000), "nested too deeply"),
        (b" " * 1_000_001, "1,000,001 bytes, and at most 1,000,000 may be"),
    ],
)
def test_what_has_not_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    start = time.process_time()
    with pytest.raises(StoreError, match=f"The card is not the JSON that it should be.*here: .*{reason}") as caught:
        read_json(data, "here", 1_000_000, "The card")
    assert time.process_time() - start < 1
    assert str(caught.value).isprintable()


def test_how_deep_is_deep_enough() -> None:
    assert read_json(nested(DEEPEST), "here", 1000) is not None


def test_a_million_keys_of_one_name_are_refused_at_once() -> None:
    many = ", ".join(f'"k{k}": 1' for k in range(100_000))
    start = time.process_time()
    with pytest.raises(StoreError, match="'k99999' is there twice"):
        read_json(f'{{{many}, "k99999": 2}}'.encode(), "here", 10**7)
    assert time.process_time() - start < 1


def test_a_strangers_text_in_a_message() -> None:
    assert in_short("a\x1b[2Jb\nc\ud800") == r"a\x1b[2Jb c\ud800"
    assert in_short("x" * 1000) == "x" * 120 + "…"


def test_what_was_cleaned_can_be_read() -> None:
    value = {"a\x07": ["b\x1b", ("c\n\td", 1.5)], "e": None}
    cleaned = without_control(value)
    assert cleaned == {"a ": ["b ", ["c\n\td", 1.5]], "e": None}
    assert read_json(json.dumps(cleaned).encode(), "here", 1000) == cleaned
