"""What a method is: a name, the configurations it tries, and how it fits one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xtlray.errors import RequestError
from xtlray.nn.members import LiveMember, NetMember
from xtlray.transfer.settings import Effort
from xtlray.transfer.task import Task

Config = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a method may know when it lists its configurations: never a target value.

    Attributes:
        effort: how much to try.
        rows: of training.
        net: what is trained from scratch.
        source_net: what is carried over, None without a source.
        head: of a source that answers for several properties, the one to start from.
        regressors: those that methods with a scikit-learn head try.
    """

    effort: Effort
    rows: int
    net: dict[str, Any]
    source_net: dict[str, Any] | None
    head: str | None = None
    regressors: tuple[str, ...] = ("ridge",)


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
        seeded: whether seeds change its outcome; one that is not runs once.
        search: the configurations to try.
        fit: trains one of them on a task's training rows, with one seed.
        needs_attributes: whether it reads physical attributes.
    """

    name: str
    summary: str
    needs_source: bool
    seeded: bool
    search: Callable[[Setting], list[Config]]
    fit: Callable[[Task, NetMember | None, Config, int], Fitted]
    needs_attributes: bool = False

    def source(self, source: NetMember | None) -> NetMember:
        """The source model. Raises `RequestError` where there is none."""
        if source is None:
            raise RequestError(f"{self.name} needs a source model", fix="name one: source: oqmd-elemnet")
        return source
