"""What a method is: a name, the configurations it tries, and how it fits one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from xtlray.errors import RequestError
from xtlray.nn.members import LiveMember, NetMember
from xtlray.transfer.settings import Effort
from xtlray.transfer.task import Task

Config = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a method may know when it lists its configurations.

    Attributes:
        effort: how much to try.
        rows: of training.
        net: what is trained from scratch.
        source_nets: what is carried over, nothing without a source.
        head: of a source that answers for several properties, the one to start from.
        regressors: those that methods with a scikit-learn head try.
        long_tailed: whether a few of the training targets reach far beyond the others.
        mostly_one_value: whether most of them are the same.
    """

    effort: Effort
    rows: int
    net: dict[str, Any]
    source_nets: tuple[dict[str, Any], ...] = ()
    head: str | None = None
    regressors: tuple[str, ...] = ("ridge",)
    long_tailed: bool = False
    mostly_one_value: bool = False


@dataclass(frozen=True)
class Fitted:
    """What a trial made."""

    member: LiveMember
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Method:
    """A way to model a target.

    Attributes:
        name: as in the literature's tables.
        summary: one line.
        needs_source: whether it starts from a pretrained model.
        search: the configurations to try, the likeliest first.
        fit: trains one of them on a task's training rows, with one seed.
        needs_attributes: whether it reads physical attributes.
        joins_sources: whether it reads several sources side by side, instead of trying each.
    """

    name: str
    summary: str
    needs_source: bool
    search: Callable[[Setting], list[Config]]
    fit: Callable[[Task, Sequence[NetMember], Config, int], Fitted]
    needs_attributes: bool = False
    joins_sources: bool = False

    def source(self, sources: Sequence[NetMember]) -> NetMember:
        """The one source model. Raises `RequestError` where there is none."""
        if not sources:
            raise RequestError(f"{self.name} needs a source model", fix="name one: source: oqmd-elemnet")
        return sources[0]
