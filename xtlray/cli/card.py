"""A model's card for people: what only a program reads is told in short, `--json` has all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xtlray.cli.output import cell, number

_OF_A_PROPERTY = ("name", "label", "unit", "rows_train", "metrics")
_LONG = 12  # formulas, or kinds of members


def readable(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card, as JSON, with its parts in short: what `models show` prints as YAML.

    Args:
        card: as `describe` gives it.
    """
    several = [{key: one[key] for key in _OF_A_PROPERTY} for one in card["properties"]]
    shown = {
        **card,
        "metrics": _metrics(card["metrics"], card["unit"]),
        "properties": [{**one, "metrics": _metrics(one["metrics"], one["unit"])} for one in several],
        # Of datasets whose compositions were left out, the names alone.
        "lineage": [{k: list(v) if isinstance(v, dict) else v for k, v in step.items()} for step in card["lineage"]],
        "elements_encoded": " ".join(card["elements_encoded"]),
        "elements_seen": "training rows that hold each: " + _pairs(card["elements_seen"]),
        "members": _members(card["members"]),
        "nets": [_net(net) for net in card["nets"]],
        "golden": _golden(card["golden"], [one["name"] for one in card["properties"]]),
        "history": f"{len(card['history'])} entries, see --json",
        "files": {name: _file(name, card) for name in card["files"]},
    }
    # The only one of its properties is what the rest of the card speaks of.
    left_out = {"sizes", "schema_version", *(["properties"] if len(several) < 2 else [])}
    return {key: value for key, value in shown.items() if key not in left_out}


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _metrics(metrics: Mapping[str, Mapping[str, Any]], unit: str | None) -> dict[str, str]:
    """`MAE 0.12 ± 0.01 eV, RMSE 0.2 eV, R² 0.9 on 120 rows`."""
    told = {}
    for split, each in metrics.items():
        spread = "" if each["mae_spread"] is None else f" ± {number(each['mae_spread'])}"
        figures = [
            f"{name} {number(each[key])}{more} {of or ''}".rstrip()
            for name, key, more, of in (("MAE", "mae", spread, unit), ("RMSE", "rmse", "", unit), ("R²", "r2", "", ""))
            if each[key] is not None
        ]
        told[split] = f"{', '.join(figures) or 'not known'} on {each['rows']} rows"
    return told


def _members(members: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{times} of the kind {kind}" for kind, times in Counter(one["kind"] for one in members).items())


def _net(net: Mapping[str, Any]) -> str:
    settings = _pairs({key: cell(value) for key, value in net["settings"].items()})
    role = "that makes features, read" if net["role"] == "source" else "that answers, used"
    weights = "" if net["weights"] is None else f", {net['weights']} weights"
    count = f"{net['members']} member" + "s" * (net["members"] != 1)
    return f"{net['name']}{f' ({settings})' * bool(settings)}{weights}: {role} by {count}"


def _golden(golden: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, str] | str:
    """What was answered for each formula, with the interval where there is one."""
    if golden is None:
        return "none: published before there were any"
    told = {}
    for i, formula in enumerate(golden["formulas"][:_LONG]):
        parts = []
        for p, value in enumerate(golden["values"][i]):
            between = _between(golden, i, p)
            name = f"{names[p]} " if len(names) > 1 else ""
            parts.append(f"{name}{cell(value) or 'no number'}{between}")
        told[formula] = ", ".join(parts)
    return told


def _between(golden: Mapping[str, Any], i: int, p: int) -> str:
    if golden["lower"] is None or golden["upper"] is None:
        return ""
    return f" ({cell(golden['lower'][i][p])} to {cell(golden['upper'][i][p])})"


def _file(name: str, card: Mapping[str, Any]) -> str:
    size = card["sizes"].get(name)
    return ("" if size is None else f"{size} bytes, ") + f"SHA-256 {card['files'][name]}"
