"""Files in, a folder of predictions out: which model answers there, and the model at work in its own processes.

The version is settled when the folder is begun. An alias that has moved when the same command is given again changes
nothing. Nothing here imports torch before a model is loaded, which the process that was called does only where library
versions have changed since the model was published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from xtlray import provenance
from xtlray.chem.formula import Compositions, parse_coded
from xtlray.data.bulk import Crew, Job, predict_all
from xtlray.data.prediction_folder import Manifest, Plan, claim, planned, read_plan
from xtlray.data.sources import find_inputs
from xtlray.records import ModelCard
from xtlray.registry.properties import column_of
from xtlray.registry.versions import ModelRef, resolve
from xtlray.store import Store
from xtlray.urls import absolute, path_of

log = logging.getLogger("xtlray.predict")


def predict_folder(
    store: Store,
    model: str,
    wanted: str | None,
    inputs: Sequence[str],
    output: str,
    crew: Callable[[], AbstractContextManager[Crew]],
) -> Manifest:
    """Predict for tables of any size, or go on with it, or say what has come of it.

    Args:
        store: the library.
        model: `name`, `name@3` or `name@alias`.
        wanted: which of its properties; None is its first.
        inputs: paths, URLs, folders or patterns.
        output: folder or URL of the parts; made if it is not there.
        crew: gets the processes that work.

    Raises:
        RequestError: no such model, property or input; the output holds something else.
        WorkError: the model or a store failed, or an input file changed meanwhile.
    """
    url = absolute(output)
    files = find_inputs(inputs, url)
    new = url.startswith("file://") and not path_of(url).is_dir()
    ref = _version(store, model, None if new else read_plan(Store.open(url)))
    card = ref.card()
    names = [answer.name for answer in card.answers()]
    if wanted is None and len(names) > 1:
        log.warning("%s answers for %s; name another property for %s", ref, names[0], ", ".join(names[1:]))
    name = names[0 if wanted is None else column_of(str(ref), names, wanted)]
    plan = Plan(asked=model, model=str(ref), card_hash=ref.card_hash(), property=name, files=planned(files))
    folder = Store.open(url)  # makes it: only now, when nothing is wrong with what was asked for
    claim(folder, plan)

    def working() -> AbstractContextManager[Crew]:
        _warn_of_changes(ref, card)
        return crew()

    return predict_all(Job(tuple(files), folder, plan.identity(), ModelAt(ref, name)), plan, working)


def _warn_of_changes(ref: ModelRef, card: ModelCard) -> None:
    """Under other library versions, ask for its golden answers here: what other processes warn of, nobody sees."""
    if card.golden is not None and card.versions != provenance.versions():
        from xtlray.registry.model import load_model

        load_model(ref)


def _version(store: Store, model: str, begun: Plan | None) -> ModelRef:
    """The version that answers: that of the folder, where the same name was asked for when it was begun."""
    if begun is None or begun.asked != model:
        return resolve(store, model, announce=log.info)
    ref = resolve(store, begun.model)
    if begun.asked != begun.model:
        log.info("%s was %s when this folder was begun, and is for all of it", begun.asked, ref)
    return ref


@dataclass(frozen=True)
class ModelAt:
    """Which model to load, elsewhere.

    Attributes:
        ref: the version.
        property: the name of one of its properties.
    """

    ref: ModelRef
    property: str

    def __call__(self) -> Callable[[pa.Array], dict[str, pa.Array]]:
        """Load it, in a process that has one core to itself; what it answers for formulas, as columns.

        Raises:
            StoreError: a file of the model is missing, altered or does not fit.
        """
        import torch

        from xtlray.registry.model import load_model
        from xtlray.training.memory import keep_freed_memory

        torch.set_num_threads(1)
        keep_freed_memory()
        model = load_model(self.ref)
        return lambda formulas: model.answers(*parse_column(formulas), self.property).columns()


def parse_column(formulas: pa.Array) -> tuple[Compositions, dict[int, str]]:
    """`parse` for an Arrow array of strings, of which no Python text is made."""
    if not len(formulas):
        return parse_coded(b"", np.zeros(1, np.int64))
    missing = formulas.is_null().to_numpy(zero_copy_only=False) if formulas.null_count else None
    filled = formulas.fill_null("") if formulas.null_count else formulas
    _, places, data = filled.buffers()
    offsets = np.frombuffer(places, np.int32)[filled.offset : filled.offset + len(filled) + 1]
    return parse_coded(memoryview(data) if data is not None else b"", offsets, missing)
