"""Looking around in the library: rows for a listing, and a card with the history of its aliases."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from xtlray.errors import StoreError, StoreGoneError
from xtlray.registry.aliases import alias_history, aliases_of, log_of, read_entry
from xtlray.registry.checks import check_card
from xtlray.registry.versions import Contents, ModelRef, contents, read_card
from xtlray.store import Store, builtin

log = logging.getLogger("xtlray.registry")
_AT_ONCE = 1000  # cards that are held in memory
_OF_A_CARD = (
    "property", "properties", "unit", "method", "source", "members", "val_mae", "test_mae", "run", "created", "problem",
)  # fmt: skip
_COLUMNS = ("model", "aliases", *_OF_A_CARD)


def list_models(store: Store) -> list[dict[str, Any]]:
    """One row per model version; one whose card cannot be read has its `problem` and hides no other.

    Unit and errors are of the first of a model's `properties`. Which versions and aliases there are is looked up, what
    their cards say is taken from the index of the library: a card that was altered since is found by `verify`.
    """
    return [row for home in (store, builtin()) for row in _rows(home)]


def _rows(home: Store) -> Iterator[dict[str, Any]]:
    """Of one listing, with the cards that the index does not tell of, and aliases, fetched many at a time."""
    found = contents(home)
    aliases = _aliases(home, found)
    told = {} if home.read_only else _told(home)
    for start in range(0, len(found.versions), _AT_ONCE):
        some = found.versions[start : start + _AT_ONCE]
        refs = [ModelRef(home, *about) for about in some if about not in told]
        cards = dict(zip(refs, home.get_all([ref.card_key for ref in refs]), strict=True))
        for about in some:
            ref, means = ModelRef(home, *about), aliases.get(about, [])
            data = cards.get(ref)
            if about in told:
                yield {"model": str(ref), "aliases": means, **told[about]}
            elif data is not None:  # else it was deleted just now
                yield _row(ref, data, means)


def _told(home: Store) -> dict[tuple[str, int], dict[str, Any]]:
    """What the index tells of each version: of 100,000 in a second or two, of which reading the cards takes minutes."""
    from xtlray.registry.reading import rows_of_the_library  # imports pyarrow

    try:
        rows = rows_of_the_library(home, log.info).select(["name", "version", "place", "gone", *_OF_A_CARD])
    except StoreGoneError:
        raise
    except StoreError as error:
        log.warning("%s", error)
        return {}  # the cards are the truth
    return {
        (row["name"], row["version"]): {
            **{name: row[name] for name in _OF_A_CARD},
            "properties": row["properties"].split(),
        }
        for row in rows.to_pylist()
        if row["place"] == 0 and not row["gone"] and row["problem"] is None
    }


def _row(ref: ModelRef, data: bytes, aliases: list[str]) -> dict[str, Any]:
    try:
        card = read_card(data, ref.card_key)
    except StoreError as error:
        return {**dict.fromkeys(_COLUMNS), "model": str(ref), "aliases": aliases, "problem": str(error)}
    metrics = card.metrics
    values = (
        str(ref),
        aliases,
        card.property,
        [answer.name for answer in card.answers()],
        card.unit,
        card.method,
        card.source_model,
        len(card.members),
        metrics["val"].mae if "val" in metrics else None,
        metrics["test"].mae if "test" in metrics else None,
        card.run,
        card.created,
        None,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _aliases(home: Store, found: Contents) -> dict[tuple[str, int], list[str]]:
    """The aliases that mean each version, sorted; one whose newest entry is damaged means none."""
    logs = [(name, alias, n) for name, held in found.aliases.items() for alias, n in held.items()]
    keys = [f"{log_of(name, alias)}/{n}.json" for name, alias, n in logs]
    meaning: dict[tuple[str, int], list[str]] = {}
    for (name, alias, _), key, data in zip(logs, keys, home.get_all(keys), strict=True):
        try:
            meaning.setdefault((name, read_entry(key, data).version), []).append(alias)
        except StoreError as error:
            log.warning("%s@%s is passed over: %s", name, alias, error)
    return {version: sorted(words) for version, words in meaning.items()}


def describe(ref: ModelRef) -> dict[str, Any]:
    """The card with the history of the model's aliases. Raises `StoreError` where there can be no such model."""
    card = ref.card()
    check_card(card, str(ref))
    aliases = {name: alias_history(ref.store, ref.name, name) for name in aliases_of(ref.store, ref.name)}
    return {**card.as_json(), "aliases": aliases}
