"""Where a training stands: enough, with weights and optimizer, to go on at any step with any number of workers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from xtlray.training.metrics import MeanError


@dataclass
class LoopState:
    """Position of the loop.

    `epoch` counts finished epochs, `row` the rows of the present epoch that are done (over all workers), `step` the
    optimizer steps since the start, `loss` the present epoch's training loss so far.
    """

    epoch: int = 0
    row: int = 0
    step: int = 0
    loss: MeanError = field(default_factory=MeanError)
    history: list[dict[str, Any]] = field(default_factory=list)

    def close_epoch(self, entry: dict[str, Any]) -> None:
        """Write the epoch into the history and start the next."""
        self.epoch += 1
        self.row = 0
        self.loss = MeanError()
        self.history.append({"epoch": self.epoch, "step": self.step, **entry})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LoopState:
        return cls(**{**value, "loss": MeanError(**value["loss"])})
