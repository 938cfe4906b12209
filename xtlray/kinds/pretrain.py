"""Jobs of kind `pretrain`: a source model from one big dataset, or from several properties at once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xtlray.data.dataset import open_dataset
from xtlray.errors import RequestError
from xtlray.kinds.estimate import pretrain_cost
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved, Say
from xtlray.kinds.transfer import expand_targets
from xtlray.names import check_model_name
from xtlray.nn.nets import resolve_net
from xtlray.pipeline import pretrain
from xtlray.pretrain.settings import PretrainSettings
from xtlray.store import Store


def resolve(store: Store, name: str, settings: PretrainSettings, announce: Say) -> Resolved:
    """Fill in the model's name and the net's settings, expand patterns, look up the data."""
    if settings.exclude_target_compositions:
        raise RequestError(
            "A pretraining alone has no targets whose compositions it could leave out",
            got="exclude_target_compositions: true",
            allowed="the section pretrain of a job of kind pipeline",
            fix="name the datasets instead: exclude_compositions_of: [jarvis/*]",
        )
    twice = sorted(name for name, n in Counter(settings.dataset).items() if n > 1)
    if twice:
        raise RequestError("A dataset is named twice", got=", ".join(twice), fix="name each property once")
    if settings.model is None:
        settings = settings.model_copy(update={"model": check_model_name(name)})
    if settings.model and settings.model.startswith("builtin/"):
        raise RequestError("Names under builtin/ belong to the package", got=settings.model, fix="set another model")
    exclude = tuple(expand_targets(store, settings.exclude_compositions_of, announce))
    settings = settings.model_copy(update={"net": resolve_net(settings.net), "exclude_compositions_of": exclude})
    data = {each: open_dataset(store, each).card.data_hash for each in (*settings.dataset, *exclude)}
    identity = {"kind": "pretrain", "name": name, **settings.identity(), "data": data}
    return Resolved("pretrain", name, settings, identity, {"data": data})


def plan(store: Store, job: Resolved) -> dict[str, Any]:
    """Rows, steps, minutes, disk."""
    return pretrain_cost(store, job.settings, job.inputs["data"])


def execute(context: Context, job: Resolved) -> Outcome:
    """Train and publish."""
    settings, data = job.settings, job.inputs["data"]
    ref = pretrain(context.store, context.attempt, settings, settings.model, data, context.session, context.say)
    return Outcome(models=[str(ref)])


KIND = Kind("pretrain", "pretrain a source model", PretrainSettings, resolve, plan, execute)
