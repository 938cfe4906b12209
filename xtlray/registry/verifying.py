"""Whether models are what their cards say: every byte hashed again, each model rebuilt and asked.

One flipped byte is found wherever it lies: in a file by the card, in the card by its seal, in the seal by the card.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from xtlray.errors import StoreError, StoreGoneError, XtlrayError
from xtlray.names import check_model_name
from xtlray.registry.golden import changes
from xtlray.registry.model import Model, open_model
from xtlray.registry.versions import ModelRef, complete_versions
from xtlray.store import Store, builtin
from xtlray.strict import in_short

log = logging.getLogger("xtlray.registry")
AT_ONCE = 2
NOT_SEALED = "card not sealed"
_SEALED_SINCE = 5  # schema version of cards
_SHOWN = 3
_STEPS = 20  # lines of progress, besides those of bad models


def verify(ref: ModelRef) -> dict[str, Any]:
    """Hash every file and the card again, rebuild the model, let it predict each element that it has seen, each
    property, and what its card has golden answers for.

    Raises:
        StoreError: what is wrong, at the first fault.
    """
    card, _, sealed = ref.read_card()
    if not sealed and card.schema_version >= _SEALED_SINCE:
        raise StoreError("A model's card has lost its seal", got=f"{ref.folder}/card.sha256 is missing")
    model = open_model(ref, card)
    predicted = _check_numbers(model)
    changed = changes(model)
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise StoreError(
            "The model answers otherwise than when it was published",
            got=f"{ref}: " + "; ".join(map(str, changed[:_SHOWN])) + more,
            fix="use the library versions on its card, or train it again",
        )
    golden = len(card.golden.formulas) * len(model.properties) if card.golden else 0
    return {
        "model": str(ref),
        "status": "ok",
        "files": len(card.files),
        "predictions_checked": predicted,
        "golden_checked": golden,
        "problem": None if sealed else NOT_SEALED,
    }


def _check_numbers(model: Model) -> int:
    seen = [element for element in model.card.elements_encoded if model.card.elements_seen.get(element)]
    answers = [(name, row) for name in model.properties for row in model.predictions(seen, name)]
    bad = [(name, row.formula) for name, row in answers if row.value is None or not np.isfinite(row.value)]
    if bad:
        formulas = ", ".join(formula for name, formula in bad[:5] if name == bad[0][0])
        raise StoreError("The model does not answer with a number", got=f"{model.ref}: {formulas} ({bad[0][0]})")
    return len(answers)


def all_models(store: Store) -> list[ModelRef]:
    """All complete versions in a store, and those of the package."""
    return [ModelRef(home, name, version) for home in (store, builtin()) for name, version in complete_versions(home)]


def verify_all(refs: Sequence[ModelRef], at_once: int = AT_ONCE) -> list[dict[str, Any]]:
    """`verify` for each, some at a time: a row for each in their order, `status` being `ok` or `bad`.

    What is wrong with one hides no other. Progress goes to the log. One that is deleted meanwhile has no row.

    Raises:
        StoreGoneError: the store is out of reach.
    """
    rows: dict[int, dict[str, Any]] = {}
    bad = 0
    with ThreadPoolExecutor(at_once) as pool:
        places = {pool.submit(_row, ref): place for place, ref in enumerate(refs)}
        try:
            for done, future in enumerate(as_completed(places), start=1):
                row = rows[places[future]] = future.result()
                bad += row["status"] == "bad"
                _say(done, len(refs), row, bad)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [row for _, row in sorted(rows.items()) if row["status"] != "deleted"]


def _row(ref: ModelRef) -> dict[str, Any]:
    nothing = dict.fromkeys(("files", "predictions_checked", "golden_checked"))
    shown = in_short(str(ref))
    try:
        check_model_name(ref.name)
        return verify(ref)
    except StoreGoneError:
        raise
    except Exception as error:  # a file may say anything, and whatever comes of it must not end the others' check
        if not ref.exists():
            return {"model": shown, "status": "deleted", **nothing, "problem": None}
        reason = str(error) if isinstance(error, XtlrayError) else f"{type(error).__name__}: {error}"
        return {"model": shown, "status": "bad", **nothing, "problem": reason}


def _say(done: int, total: int, row: dict[str, Any], bad: int) -> None:
    if row["status"] == "bad":
        log.warning("%s is bad: %s", row["model"], row["problem"])
    if done == total or done * _STEPS // total > (done - 1) * _STEPS // total:
        log.info("verified %d of %d models, %d bad", done, total, bad, extra={"share": done / total})
