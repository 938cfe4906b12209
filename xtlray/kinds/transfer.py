"""Jobs of kind `transfer`: models of small targets, from scratch and carried over from source models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xtlray import catalog
from xtlray.data.dataset import known_datasets, open_dataset
from xtlray.errors import RequestError
from xtlray.kinds.estimate import transfer_cost
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved, Say
from xtlray.nn.nets import resolve_net
from xtlray.pipeline import transfer
from xtlray.registry.versions import ModelRef
from xtlray.registry.versions import resolve as resolve_model
from xtlray.store import Store
from xtlray.transfer.budget import search_identity
from xtlray.transfer.methods import get_method
from xtlray.transfer.regressors import get_regressor
from xtlray.transfer.settings import TransferSettings


def expand_targets(store: Store, patterns: tuple[str, ...], announce: Say) -> list[str]:
    """Names of the datasets that the patterns mean, each once, sorted.

    Raises:
        RequestError: a pattern that means nothing, or a dataset that is known but not fetched.
    """
    here = set(known_datasets(store))
    found: list[str] = []
    for pattern in patterns:
        names = catalog.match([pattern], sorted(here | set(catalog.datasets())))
        missing = [name for name in names if name not in here]
        if len(missing) == len(names):
            raise RequestError(
                "The dataset is known but not here",
                got=pattern,
                fix=f"xtlray data fetch '{pattern}'",
            )
        if missing:
            announce(f"{pattern}: {len(names) - len(missing)} of {len(names)} known datasets are here")
        found += [name for name in names if name in here]
    return sorted(set(found))


def resolve_targets(store: Store, settings: TransferSettings, announce: Say) -> tuple[TransferSettings, dict[str, str]]:
    """Settings with patterns expanded and the net filled in, and the data hash of each target."""
    for method in settings.trial_methods:
        get_method(method)
    for table in settings.regressors.values():
        for regressor in table:
            get_regressor(regressor)
    targets = expand_targets(store, settings.targets, announce)
    update = {"targets": tuple(targets), "net": resolve_net(settings.net)}
    return settings.model_copy(update=update), {name: open_dataset(store, name).card.data_hash for name in targets}


def needs_source(settings: TransferSettings) -> bool:
    return any(get_method(method).needs_source for method in settings.trial_methods)


def resolve(store: Store, name: str, settings: TransferSettings, announce: Say) -> Resolved:
    """Expand patterns, look up data and sources."""
    if needs_source(settings) and not settings.source:
        raise RequestError(
            "A method needs a source model and the job names none",
            got=", ".join(m for m in settings.trial_methods if get_method(m).needs_source),
            fix="add source: NAME (see `xtlray models list`), or leave these methods out",
        )
    settings, data = resolve_targets(store, settings, announce)
    sources = resolve_sources(store, settings.source, announce)
    for ref in sources:
        refuse_own_values(str(ref), trained_on(ref), data)
    settings = settings.model_copy(update={"source": tuple(map(str, sources))})
    hashes = {str(ref): ref.card_hash() for ref in sources}
    identity = {
        "kind": "transfer",
        "search": search_identity(settings.effort),
        "name": name,
        **settings.identity(),
        "data": data,
        "sources": hashes,
    }
    return Resolved("transfer", name, settings, identity, {"data": data, "sources": sources})


def trained_on(ref: ModelRef) -> list[str]:
    """The datasets that a model and its sources were trained on."""
    return [step["dataset"] for step in ref.card().lineage if "dataset" in step]


def refuse_own_values(source: str, datasets: Iterable[str], targets: Iterable[str]) -> None:
    """Refuse a source that learned from a target's own values: rows held out from its transfer would be known to it.

    Raises:
        RequestError: one of its datasets is a target.
    """
    both = sorted(set(datasets) & set(targets))
    if both:
        raise RequestError(
            "A source was trained on a target's own values, so that no error could be believed",
            got=f"{source} was trained on {', '.join(both)}",
            fix="take another source, or leave these targets out",
        )


def plan(store: Store, job: Resolved) -> dict[str, Any]:
    """Trials, rows, minutes, disk."""
    nets = {str(ref): net_of(ref) for ref in job.inputs["sources"]}
    return transfer_cost(store, job.settings, job.inputs["data"], nets)


def resolve_sources(store: Store, names: Iterable[str], announce: Say) -> list[ModelRef]:
    """The models to carry over, each once. Raises `RequestError` for one that is not there, or that has no net."""
    refs = {str(ref): ref for ref in (resolve_model(store, text, announce) for text in names)}
    for ref in refs.values():
        net_of(ref)
    return list(refs.values())


def net_of(ref: ModelRef) -> dict[str, Any]:
    """The description of a model's net. Raises `RequestError` where it has none."""
    nets = [member.net for member in ref.card().members if member.kind == "net" and member.net]
    if not nets:
        raise RequestError(
            "This model has no net to carry over", got=str(ref), allowed="a model whose members are nets"
        )
    return nets[0]


def execute(context: Context, job: Resolved) -> Outcome:
    """Sweep, choose, score, publish."""
    inputs = job.inputs
    outcome = transfer(
        context.store,
        context.attempt,
        job.settings,
        inputs["data"],
        inputs["sources"],
        context.session,
        context.say,
    )
    notes = [f"{record.trial}: {record.error}" for record in outcome.failures]
    return Outcome(
        failed=bool(outcome.without_model),
        models=[str(ref) for ref in outcome.models.values()],
        notes=[f"{target} has no model: {why}" for target, why in outcome.without_model.items()] + notes,
    )


KIND = Kind("transfer", "model small targets", TransferSettings, resolve, plan, execute)
