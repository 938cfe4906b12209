"""What datasets and models may be called: the one place that holds the patterns.

Names become folders of the store and words of the command line, so they are lower case, need no quoting, and
cannot climb out of their folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from xtlray.errors import RequestError

PART = "[a-z0-9][a-z0-9_.-]*"
_FILE = "[A-Za-z0-9][A-Za-z0-9_.-]*"
_LONGEST = 100
_NAME_CHARACTERS = "lower-case letters, digits, '_', '.' and '-', the first a letter or digit"


def is_dataset_name(name: str) -> bool:
    """Whether `name` is a `<source>/<property>` of the right form; its models are published under the same name."""
    return len(name.split("/")) == 2 and _is_model_name(name)


def _is_model_name(name: str) -> bool:
    parts = name.split("/")
    # Versions are numbers and aliases lie under `aliases`, both beside the second part of a name.
    return len(parts) <= 2 and all(
        re.fullmatch(PART, part) and not part.isdecimal() and part != "aliases" for part in parts
    )


def check_dataset_name(name: str, reserved: Collection[str] = ()) -> str:
    """`name` itself if it is a `<source>/<property>` that may be given to a dataset.

    Args:
        name: what a user wants to call a dataset.
        reserved: sources that are not the user's to write to, such as `oqmd`.

    Raises:
        RequestError: the name is malformed, or its source is reserved.
    """
    if not is_dataset_name(name):
        raise RequestError(
            "A dataset's name has two parts, SOURCE/PROPERTY",
            got=repr(name),
            allowed=f"in each part {_NAME_CHARACTERS}; no part a bare number or 'aliases'",
            fix="choose a name such as user/band_gap",
        )
    source, name_of_property = name.split("/")
    if source in reserved or source == "builtin":
        raise RequestError(
            f"The names {source}/… belong to the program",
            got=repr(name),
            allowed="any source but " + ", ".join(sorted({*reserved, "builtin"})),
            fix=f"choose a name such as user/{name_of_property}",
        )
    return name


def check_model_name(name: str) -> str:
    """`name` itself if a model may be called so: one or two parts, no part a bare number or `aliases`.

    Raises:
        RequestError: the name is malformed.
    """
    if not _is_model_name(name):
        raise RequestError(
            "A model's name has one part or two, NAME or SOURCE/PROPERTY",
            got=repr(name),
            allowed=f"in each part {_NAME_CHARACTERS}; no part a bare number or 'aliases'",
            fix="choose a name such as oqmd-elemnet or user/band_gap",
        )
    return name


def parse_model(text: str) -> tuple[str, str | None]:
    """The name and the suffix of `name`, `name@3` or `name@alias`; the suffix is None where there is none.

    Raises:
        RequestError: the name is malformed, or the suffix is neither a version (1, 2, 3 …) nor an alias.
    """
    name, at, suffix = text.partition("@")
    check_model_name(name)
    if not at:
        return name, None
    malformed_number = suffix.isdecimal() and not re.fullmatch("[1-9][0-9]{0,17}", suffix)
    if not re.fullmatch(PART, suffix) or malformed_number:
        raise RequestError(
            "What follows the @ of a model is neither a version nor an alias",
            got=repr(text),
            allowed="a number from 1 on, or a word such as latest or best",
            fix=f"write {name}@1 or {name}@latest",
        )
    return name, suffix


def check_alias(alias: str) -> str:
    """`alias` itself if a person may let it mean a version of a model.

    Raises:
        RequestError: it is malformed, a bare number, or `latest`, which means the newest version by itself.
    """
    if alias == "latest":
        raise RequestError(
            "latest is always the newest version and cannot be moved", got=alias, fix="choose a name such as production"
        )
    if not re.fullmatch(PART, alias) or alias.isdecimal():
        raise RequestError(
            "An alias is one word",
            got=repr(alias),
            allowed=f"{_NAME_CHARACTERS}; no bare number",
            fix="choose a name such as production",
        )
    return alias


def check_file_name(name: str) -> str:
    """`name` itself if a file of a model may be called so: one part, that cannot climb out of its folder.

    Raises:
        RequestError: the name is malformed, too long, or one of `card.json` and `card.sha256`, which are the card's.
    """
    of_the_card = name.lower() in ("card.json", "card.sha256")
    if len(name) > _LONGEST or not re.fullmatch(_FILE, name) or of_the_card:
        raise RequestError(
            "A file of a model cannot be called so",
            got=ascii(name[: _LONGEST + 1]),
            allowed=f"letters, digits, '_', '.' and '-', the first a letter or digit, at most {_LONGEST} characters",
        )
    return name
