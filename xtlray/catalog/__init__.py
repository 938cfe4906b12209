"""What is known by name before anything is fetched: datasets, their properties, units, sources and published figures.

The knowledge is data, in files of this folder: one YAML file per source (`oqmd.yaml`, `jarvis.yaml`, ...), whose
`common` block holds for each of its datasets, `reference_mae.csv` with the published errors and `published_files.csv`
with where each published file lies and the git blob id that proves a download. They are read at first use.
"""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from xtlray.catalog.info import DatasetInfo, PublishedFile, Reference
from xtlray.errors import RequestError, unknown

__all__ = ["DatasetInfo", "PublishedFile", "Reference", "datasets", "find", "get", "match"]

SOURCES = ("oqmd", "jarvis", "experiment", "demo")
_LIST = "see xtlray data list"


@cache
def datasets() -> Mapping[str, DatasetInfo]:
    """Every dataset of the catalog by name, in catalog order. Read-only."""
    reference = {row["dataset"]: row for row in _table("reference_mae.csv")}
    published: dict[str, list[PublishedFile]] = {}
    for row in _table("published_files.csv"):
        published.setdefault(row.pop("dataset"), []).append(PublishedFile.model_validate(row))
    found: dict[str, DatasetInfo] = {}
    for source in SOURCES:
        text = (files(__package__) / f"{source}.yaml").read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        for name, own in content["datasets"].items():
            found[name] = _info(name, content["common"], own, reference.get(name), published.get(name, []))
    return MappingProxyType(found)


def get(name: str) -> DatasetInfo:
    """The catalog's entry of that name. Raises `UnknownNameError` with the nearest known names."""
    try:
        return datasets()[name]
    except KeyError:
        raise unknown("dataset", name, datasets(), fix=_LIST) from None


def find(patterns: Sequence[str]) -> list[str]:
    """The names that match shell patterns such as `jarvis/*`, in catalog order, each once.

    Raises:
        RequestError: no pattern was given.
        UnknownNameError: a pattern matches nothing.
    """
    return match(patterns, list(datasets()))


def match(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """`find` among any names, such as those of a store. The order is that of `known`."""
    if not patterns:
        raise RequestError("No dataset was named", allowed="names or patterns such as 'jarvis/*'", fix=_LIST)
    chosen: set[str] = set()
    for pattern in patterns:
        hits = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not hits:
            raise unknown("dataset", pattern, known, fix=_LIST)
        chosen.update(hits)
    return [name for name in known if name in chosen]


def _info(
    name: str,
    common: Mapping[str, Any],
    own: Mapping[str, Any],
    reference: Mapping[str, str] | None,
    published: list[PublishedFile],
) -> DatasetInfo:
    fields = {**common, **own, "name": name, "files": published}
    # What is particular to the dataset is said first, then what holds for the whole source.
    fields["description"] = " ".join(filter(None, (own.get("description"), common.get("description")))) or None
    if reference:
        fields["reference"] = {key: reference[key] for key in ("base", "best_scratch", "best_transfer")}
        fields.setdefault("symbol", reference["symbol"])
    return DatasetInfo.model_validate(fields)


def _table(name: str) -> list[dict[str, str]]:
    with (files(__package__) / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
