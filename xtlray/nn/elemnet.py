"""ElemNet: elemental fractions in, a property out, through a plain deep stack of fully connected layers.

Source: Jha et al., "ElemNet: Deep Learning the Chemistry of Materials From Only Elemental Composition", Sci. Rep. 8,
17593 (2018), doi 10.1038/s41598-018-35934-y; as used for cross-property transfer by Gupta et al., Nat. Commun. 12,
6595 (2021), doi 10.1038/s41467-021-26921-5: 86 – 1024 × 4 – 512 × 3 – 256 × 3 – 128 × 3 – 64 × 2 – 32 – 1, ReLU.

Initialised after He et al. (2015), for without it seventeen ReLU layers start with a vanishing signal.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from xtlray.nn.limits import MOST_LAYERS, MOST_WIDTH
from xtlray.nn.outputs import fresh_rows, keep_rows, linear_shapes

PUBLISHED = (1024,) * 4 + (512,) * 3 + (256,) * 3 + (128,) * 3 + (64,) * 2 + (32,)


class ElemNetSettings(BaseModel):
    """Settings of an ElemNet."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    hidden: tuple[Annotated[int, Field(ge=1, le=MOST_WIDTH)], ...] = Field(
        PUBLISHED, min_length=1, max_length=MOST_LAYERS, description="units of each hidden layer"
    )


class ElemNet(nn.Module):
    """A fully connected net with ReLU after each hidden layer.

    Args:
        settings: the widths.
        inputs: F, the width of the input.
        outputs: P, the number of properties.
    """

    def __init__(self, settings: ElemNetSettings, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = (inputs, *settings.hidden)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], outputs)
        for parameter in self.hidden.parameters():
            if parameter.ndim == 2:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)
        nn.init.xavier_normal_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @staticmethod
    def shapes(settings: ElemNetSettings, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of such a net, which is not built for it."""
        found: dict[str, tuple[int, ...]] = {}
        for layer, (a, b) in enumerate(pairwise((inputs, *settings.hidden))):
            found |= linear_shapes(f"hidden.{layer}", a, b)
        return found | linear_shapes("output", settings.hidden[-1], outputs)

    @property
    def n_hidden(self) -> int:
        """Number of hidden layers."""
        return len(self.hidden)

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        return self.output

    def stages(self) -> list[list[nn.Parameter]]:
        """The parameters, layer by layer from the input to the output."""
        return [list(layer.parameters()) for layer in (*self.hidden, self.output)]

    def keep_outputs(self, rows: Sequence[int]) -> None:
        """Reduce the net to these outputs, in place."""
        keep_rows(self.output, rows)

    def renew_outputs(self, outputs: int) -> None:
        """Begin the output layer anew, in place."""
        fresh_rows(self.output, outputs)

    def activations(self, x_BF: Tensor, layers: Collection[int]) -> dict[int, Tensor]:
        """Activations after each of `layers` (1 … `n_hidden`), shape B × H."""
        found, h_BH = {}, x_BF
        for layer, linear in enumerate(self.hidden[: max(layers)], start=1):
            h_BH = linear(h_BH).relu_()
            if layer in layers:
                found[layer] = h_BH
        return found

    def answer(self, h_BH: Tensor, x_BF: Tensor) -> Tensor:
        """Scaled predictions from the activations of the last hidden layer, shape B × P."""
        return self.output(h_BH)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Scaled predictions, shape B × P."""
        return self.answer(self.activations(x_BF, (self.n_hidden,))[self.n_hidden], x_BF)
