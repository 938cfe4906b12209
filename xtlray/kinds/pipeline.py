"""Jobs of kind `pipeline`: pretrain, then transfer from what came out."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from xtlray.kinds import pretrain, transfer
from xtlray.kinds.estimate import pretrain_cost, transfer_cost
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved, Say
from xtlray.pipeline import pretrain as run_pretrain
from xtlray.pretrain.settings import PretrainSettings
from xtlray.settings import Settings
from xtlray.store import Store
from xtlray.transfer.budget import search_identity
from xtlray.transfer.settings import TransferSettings


class PipelineSettings(Settings):
    """The two sections, each with the keys of its kind."""

    pretrain: PretrainSettings = Field(description="as a job of kind pretrain")
    transfer: TransferSettings = Field(description="as a job of kind transfer; its source is by default that model")

    def identity(self) -> dict[str, Any]:
        return {"pretrain": self.pretrain.identity(), "transfer": self.transfer.identity()}


def resolve(store: Store, name: str, settings: PipelineSettings, announce: Say) -> Resolved:
    """Both sections; sources that exist before the run are pinned, the pipeline's own is made by it."""
    second, data = transfer.resolve_targets(store, settings.transfer, announce)
    first = pretrain.resolve(store, name, _without_targets(settings.pretrain, second.targets), announce)
    own = first.settings.model
    sources = transfer.resolve_sources(store, [text for text in second.source if text != own], announce)
    uses_own = not second.source or own in second.source
    if uses_own:
        transfer.refuse_own_values(str(own), first.settings.dataset, data)
    for ref in sources:
        transfer.refuse_own_values(str(ref), transfer.trained_on(ref), data)
    second = second.model_copy(update={"source": tuple([own] * uses_own + [str(ref) for ref in sources])})
    identity = {
        "kind": "pipeline",
        "search": search_identity(second.effort),
        "name": name,
        **PipelineSettings(pretrain=first.settings, transfer=second).identity(),
        "data": {**first.inputs["data"], **data},
        "sources": {str(ref): ref.card_hash() for ref in sources},
    }
    inputs = {"pretrain": first, "data": data, "sources": sources, "own": uses_own}
    return Resolved("pipeline", name, PipelineSettings(pretrain=first.settings, transfer=second), identity, inputs)


def _without_targets(settings: PretrainSettings, targets: tuple[str, ...]) -> PretrainSettings:
    """`exclude_target_compositions` as what it amounts to."""
    if not settings.exclude_target_compositions:
        return settings
    exclude = (*settings.exclude_compositions_of, *targets)
    return settings.model_copy(update={"exclude_compositions_of": exclude, "exclude_target_compositions": False})


def plan(store: Store, job: Resolved) -> dict[str, Any]:
    """Both parts."""
    first: Resolved = job.inputs["pretrain"]
    nets = dict.fromkeys(job.settings.transfer.source, first.settings.net)
    nets |= {str(ref): transfer.net_of(ref) for ref in job.inputs["sources"]}
    return {
        "pretrain": pretrain_cost(store, first.settings, first.inputs["data"]),
        "transfer": transfer_cost(store, job.settings.transfer, job.inputs["data"], nets),
    }


def execute(context: Context, job: Resolved) -> Outcome:
    """One after the other, in one run."""
    first: Resolved = job.inputs["pretrain"]
    source = run_pretrain(
        context.store,
        context.attempt,
        first.settings,
        first.settings.model,
        first.inputs["data"],
        context.session,
        context.say,
    )
    sources = [source] * job.inputs["own"] + job.inputs["sources"]
    inner = Resolved("transfer", job.name, job.settings.transfer, {}, {"data": job.inputs["data"], "sources": sources})
    outcome = transfer.execute(context, inner)
    return Outcome(outcome.failed, [str(source), *outcome.models], outcome.notes)


KIND = Kind("pipeline", "pretrain, then transfer", PipelineSettings, resolve, plan, execute)
