"""What the members of a model are made of, and what they read: the part of a card that a search goes by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xtlray.records import INPUTS, Member, ModelCard, NetCard
from xtlray.registry.checks import check_outputs

if TYPE_CHECKING:
    from xtlray.nn.members import LiveMember


def descriptors_of(members: Sequence[Member]) -> list[str]:
    """The kinds of columns that members read, each once."""
    kinds = {kind for member in members for kind in _kinds(member)}
    return [name for kind, name in INPUTS.items() if kind in kinds]


def _kinds(member: Member) -> set[str]:
    if member.blocks is not None:
        return {block.kind for block in member.blocks}
    return {"net": {"fractions"}, "head": {"activations"}}.get(member.kind, set())


def with_answers(
    card: ModelCard, files: Mapping[str, bytes], formulas: Sequence[str], spreads: Sequence[float]
) -> ModelCard:
    """The card with what its model turns out to be, once packed and unpacked: its nets, and its golden answers.

    Args:
        card: with everything else.
        files: of the model.
        formulas: to ask for.
        spreads: standard deviation of the training targets, by property.

    Raises:
        StoreError: the files are not those of a model that can be loaded.
    """
    # Here: they import torch, which who only reads cards need not wait for.
    from xtlray.chem.fractions import FractionEncoder
    from xtlray.data.inputs import InputEncoder
    from xtlray.nn.packing import unpack_members
    from xtlray.registry.golden import golden_answers

    attributes = any(member.attributes for member in card.members)
    encoder = InputEncoder(FractionEncoder(tuple(card.elements_encoded)), attributes)
    where = f"{card.name}@{card.version}"
    members = unpack_members(card.members, files, len(card.elements_encoded), where)
    check_outputs(card, members, where)
    golden = golden_answers(card, members, encoder, formulas, spreads)
    return card.model_copy(update={"nets": nets_of(card, members), "golden": golden})


def nets_of(card: ModelCard, members: Sequence[LiveMember]) -> list[NetCard]:
    """The nets, regressors and constants of a model, those that answer first, the most frequent first."""
    counted = Counter(entry for pair in zip(card.members, members, strict=True) for entry in _entries(*pair))
    ordered = sorted(counted.items(), key=lambda item: (item[0][0] != "member", -item[1], str(item[0])))
    return [
        NetCard(name=name, role=role, members=times, settings=dict(settings), weights=weights)
        for (role, name, settings, weights), times in ordered
    ]


_Entry = tuple[Any, str, tuple[tuple[str, Any], ...], int | None]


def _entries(record: Member, member: LiveMember) -> Iterator[_Entry]:
    if record.kind == "constant":
        yield "member", "constant", (), None
        return
    if record.kind == "head":
        yield "member", regressor_name(member.estimator), (), None  # type: ignore[attr-defined]
    else:
        yield _net("member", member)
    yield from {_net("source", source) for source in member.sources}


def _net(role: str, member: Any) -> _Entry:
    from xtlray.nn.nets import resolve_net

    spec = resolve_net(member.spec)
    settings = tuple((key, _frozen(value)) for key, value in spec.items() if key != "name")
    return role, spec["name"], settings, sum(math.prod(value.shape) for value in member.net.parameters())


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def regressor_name(estimator: Any) -> str:
    """The class of a regressor, without what scales its columns and its targets."""
    while True:
        inner = getattr(estimator, "regressor_", None) or (getattr(estimator, "steps", None) or [(None, None)])[-1][1]
        if inner is None:
            return type(estimator).__name__
        estimator = inner
