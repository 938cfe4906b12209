"""Where a training stands: enough, with weights and optimizer, to go on at any step with any number of workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xtlray.training.metrics import MeanErrors


@dataclass
class LoopState:
    """Position of the loop.

    `epoch` counts finished epochs, `row` the rows of the present epoch that are done (over all workers), `step` the
    optimizer steps since the start, `loss` the present epoch's training errors so far (of my rows), `seconds` how long
    the present epoch has been trained.
    """

    epoch: int = 0
    row: int = 0
    step: int = 0
    loss: MeanErrors = field(default_factory=MeanErrors)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = field(default=0.0, compare=False)  # a clock's, not the training's

    def close_epoch(self, entry: dict[str, Any]) -> None:
        """Write the epoch into the history and start the next."""
        self.epoch += 1
        self.history.append({"epoch": self.epoch, "step": self.step, "rows": self.row, **entry})
        self.row, self.seconds = 0, 0.0
        self.loss = MeanErrors()

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "loss": self.loss.as_json(), "history": [dict(entry) for entry in self.history]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LoopState:
        return cls(**{**value, "loss": MeanErrors.from_json(value["loss"])})
