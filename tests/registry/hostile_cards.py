"""Hostile cards: name → the reason for which it is refused, and what is done to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.registry.forging import HEAD_FILE, Forgery
from xtlray.nn.limits import MOST_CARD_BYTES, MOST_FILES, MOST_MEMBERS
from xtlray.nn.packing import WEIGHTS
from xtlray.store import canonical_json

Forge = Callable[[Forgery], Any]


def says(**fields: Any) -> Forge:
    """The card says something else of these."""
    return lambda model: model.card.update(fields)


def written(change: Callable[[bytes], bytes]) -> Forge:
    """The card's bytes are others, and its seal is of those."""

    def forge(model: Forgery) -> None:
        model.raw = change(canonical_json(model.card))

    return forge


def replaced(old: str, new: str) -> Forge:
    return written(lambda raw: raw.replace(old.encode(), new.encode(), 1))


def named(name: str) -> Forge:
    """The card calls the weights so."""
    return lambda model: model.rename(WEIGHTS, name)


def figures(**sizes: int) -> Forge:
    """The card has other sizes of files; a name's dots are left out here."""

    def forge(model: Forgery) -> None:
        model.honest = False
        for name, size in sizes.items():
            model.card["sizes"][WEIGHTS if name == "weights" else name] = size

    return forge


def hashed(text: str) -> Forge:
    def forge(model: Forgery) -> None:
        model.honest = False
        model.card["files"][WEIGHTS] = text

    return forge


def golden(**fields: Any) -> Forge:
    return lambda model: model.card["golden"].update(fields)


def also_in_capitals(model: Forgery) -> None:
    model.files[HEAD_FILE.upper()] = model.files[HEAD_FILE]


def many_files(model: Forgery) -> None:
    model.honest = False
    model.card["files"] = {f"f{k}": "0" * 64 for k in range(MOST_FILES + 1)}
    model.card["sizes"] = dict.fromkeys(model.card["files"], 1)


def other_digit(model: Forgery) -> None:
    """A metric is another than at publication, and the seal is of the card that was published."""
    from xtlray.registry.seal import seal_of

    raw = canonical_json(model.card)
    model.seal = seal_of(raw)
    model.raw = raw.replace(b'"mae": 0.5', b'"mae": 0.4', 1)


def twice(model: Forgery) -> None:
    model.card["properties"] = model.card["properties"] * 2


def weighted(*weights: float | None) -> Forge:
    def forge(model: Forgery) -> None:
        for member, weight in zip(model.member, weights, strict=True):
            member["weight"] = weight

    return forge


_DEEP = '"history": [' + "[" * 60 + "]" * 60 + "]"
_DEEPER = '"history": ' + "[" * 200_000 + "]" * 200_000
_HISTORY = '"history": []'

JSON: dict[str, tuple[str, Forge]] = {
    "an empty card": ("not the JSON that it should be", written(lambda raw: b"")),
    "half a card": ("not the JSON that it should be", written(lambda raw: raw[: len(raw) // 2])),
    "a list": ("ModelCard in the store is damaged", written(lambda raw: b"[]")),
    "a number that is none": ("NaN is no number", replaced('"mae": 0.5', '"mae": NaN')),
    "an infinite number": ("the number 1e999 is not finite", replaced('"mae": 0.5', '"mae": 1e999')),
    "a number of 20,000 digits": ("a whole number of 20000 digits", replaced('"mae": 0.5', f'"mae": {"9" * 20_000}')),
    "a key twice": ("the key 'unit' is there twice", replaced('"unit": "eV"', '"unit": "eV", "unit": "meV"')),
    "nested": ("nested too deeply", replaced(_HISTORY, _DEEP)),
    "nested 200,000 times": ("nested too deeply", replaced(_HISTORY, _DEEPER)),
    "too long": ("longer than it may be", written(lambda raw: raw + b" " * MOST_CARD_BYTES)),
    "an escape": (r"the control character '\\x1b'", says(label="\x1b[2Jgap")),
    "a bell in a key": (r"the control character '\\x07'", says(environment={"\x07": 1})),
    "half a character": (r"the control character '\\ud800'", replaced('"Gap"', '"\\ud800"')),
    "UTF-16": ("not the JSON that it should be.*utf-8", written(lambda raw: raw.decode().encode("utf-16"))),
    "a future schema": ("written by a newer xtlray", says(schema_version=99)),
    "a field that is none": ("is damaged.*surprise", says(surprise=1)),
    "a field of a long name": ("is damaged.*xxx…", says(**{"x" * 100_000: 1})),
    "a text for a number": ("is damaged.*version", says(version="one")),
}

MEANING: dict[str, tuple[str, Forge]] = {
    "another model's": ("speaks of another model.*user/other@1", says(name="user/other")),
    "another version's": ("speaks of another model.*user/gap@2", says(version=2)),
    "a name with an escape in it": ("control character", says(name="user/\x1b]0;gap")),
    "another digit": ("card is not the one that was published", other_digit),
    "a seal of a megabyte": ("longer than it may be", lambda model: setattr(model, "seal", b"0" * 2**20)),
    "no members": ("no members, or too many", says(members=[])),
    "too many members": (
        "no members, or too many",
        lambda model: model.card.update(members=[model.member[3]] * (MOST_MEMBERS + 1)),
    ),
    "no elements": ("reads no elements", says(elements_encoded=[])),
    "an element that there is not": ("reads no elements that there are.*Xx", says(elements_encoded=["Li", "Xx"])),
    "an element twice": ("reads no elements that there are", says(elements_encoded=["Li", "Li"])),
    "a property twice": ("or twice for one", twice),
    "an interval without a width": ("no interval of ours", says(interval={"level": 0.9})),
    "an interval below zero": ("no interval of ours", says(interval={"level": 0.9, "quantile": -1.0, "floor": 0.1})),
    "weights below zero": ("make no mean", weighted(1.0, 1.0, -1.0, 1.0)),
    "weights of some": ("make no mean", weighted(1.0, None, None, 1.0)),
    "golden answers without a row": ("golden answers make no table", golden(values=[])),
    "golden answers for no property": ("golden answers make no table", golden(tolerance=[])),
    "half an interval": ("golden answers make no table", golden(lower=[[0.0]] * 5)),
}

FILES: dict[str, tuple[str, Forge]] = {
    "a file above": (r"names a file that no model can have.*'\.\./weights'", named("../weights")),
    "a file of the system": ("names a file that no model can have.*'/etc/passwd'", named("/etc/passwd")),
    "a file of another model": ("names a file that no model can have", named("../../other/1/weights.safetensors")),
    "a drive": (r"names a file that no model can have.*C:", named("C:\\weights")),
    "a backslash": ("names a file that no model can have", named("..\\weights")),
    "a zero byte": ("control character", named("weights\0.safetensors")),
    "a line break": ("names a file that no model can have", named("weights\n.safetensors")),
    "a hidden file": ("names a file that no model can have", named(".weights")),
    "nothing": ("names a file that no model can have", named("")),
    "a very long name": ("names a file that no model can have", named("w" * 300)),
    "the card itself": ("names a file that no model can have", named("card.json")),
    "the seal": ("names a file that no model can have", named("card.sha256")),
    "by one name": ("two by one name in upper and lower case", also_in_capitals),
    "too many": ("names too many files", many_files),
    "no hash": ("has no SHA-256 of a file", hashed("0")),
    "another hash": ("not the one that was published.*SHA-256", hashed("0" * 64)),
    "a size too many": ("sizes are not those of its files", figures(other=1)),
    "a size of nothing": ("sizes are not those of its files", figures(weights=0)),
    "a size below zero": ("sizes are not those of its files", figures(weights=-1)),
    "another size": ("not the one that was published.*bytes", figures(weights=12)),
    "a petabyte": ("larger than they may be", figures(weights=10**15)),
    "more than is there": ("not the one that was published.*bytes", figures(weights=10**9)),
    "a file that is not there": (
        "Nothing lies in the store",
        lambda model: model.files.pop(WEIGHTS) and figures()(model),
    ),
}
CASES = {f"card: {name}": case for group in (JSON, MEANING, FILES) for name, case in group.items()}
