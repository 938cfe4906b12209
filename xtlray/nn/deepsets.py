"""A composition as a set of elements: a small net for each element, which also sees the mean of all of them.

The few elements of a row are all that is computed on (three of 86 columns, as a rule), each with a learned embedding
and its atomic fraction. Every block adds to an element's state a function of that state and of the fraction-weighted
mean over the row, so that elements learn of each other; the answer is read from the mean of the last states. This is
the equivariant layer of Zaheer et al., "Deep Sets", NeurIPS 2017 (arXiv 1703.06114, eq. 4), weighted by fractions as
Goodall and Lee weigh Roost's (Nat. Commun. 11, 6280 (2020), doi 10.1038/s41467-020-19964-7), in residual blocks
normalised before each (Ba et al. 2016). The order of columns means nothing to it, and a formula and its double are one.

Shape suffixes: B rows, F features (a column per element), H hidden units, N elements of all rows, P properties.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from xtlray.nn.limits import MOST_LAYERS, MOST_WIDTH
from xtlray.nn.outputs import fresh_rows, keep_rows, linear_shapes

_WAVES = 8  # sines and cosines that resolve a fraction to 1/16
_SMALLEST = 1e-4  # fractions below count as this in the logarithm


class DeepSetsSettings(BaseModel):
    """Settings of a DeepSets net."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(192, ge=1, le=MOST_WIDTH, description="units of an element's state")
    blocks: int = Field(4, ge=1, le=MOST_LAYERS, description="residual blocks")
    inner: int = Field(384, ge=1, le=MOST_WIDTH, description="hidden units of a block, and of the read-out")


class Block(nn.Module):
    """state + W₃ ReLU(W₁ norm(state) + W₂ mean(norm(state)))."""

    def __init__(self, width: int, inner: int, blocks: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.own = nn.Linear(width, inner)
        self.mean = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width)
        nn.init.normal_(self.out.weight, std=0.5 / math.sqrt(inner * blocks))  # the sum of all blocks starts of order 1

    def forward(self, h_NH: Tensor, row_N: Tensor, fraction_N: Tensor, rows: int) -> Tensor:
        """The next states, N × H."""
        u_NH = self.norm(h_NH)
        shared = self.mean(pool(u_NH, row_N, fraction_N, rows))
        inner = self.own(u_NH) + shared.gather(0, row_N[:, None].expand(-1, shared.shape[1]))
        return h_NH + self.out(inner.relu())


class DeepSets(nn.Module):
    """The net.

    Args:
        settings: the sizes.
        inputs: F, the number of elements it knows.
        outputs: P, the number of properties.
    """

    def __init__(self, settings: DeepSetsSettings, inputs: int, outputs: int) -> None:
        super().__init__()
        width, inner = settings.width, settings.inner
        self.embedding = nn.Parameter(torch.randn(inputs, width) * 2 / math.sqrt(width))
        self.fraction = nn.Linear(2 + 2 * _WAVES, width)
        self.blocks = nn.ModuleList(Block(width, inner, settings.blocks) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, inner)
        self.output = nn.Linear(inner, outputs)
        # Total energies and volumes are nearly sums over the elements; the rest is then all that the blocks must learn.
        self.linear = nn.Linear(inputs, outputs, bias=False)
        nn.init.zeros_(self.linear.weight)

    @staticmethod
    def shapes(settings: DeepSetsSettings, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of such a net, which is not built for it."""
        width, inner = settings.width, settings.inner
        norm = {"weight": (width,), "bias": (width,)}
        found: dict[str, tuple[int, ...]] = {"embedding": (inputs, width)}
        found |= linear_shapes("fraction", 2 + 2 * _WAVES, width)
        for k in range(settings.blocks):
            found |= {f"blocks.{k}.norm.{name}": shape for name, shape in norm.items()}
            found |= linear_shapes(f"blocks.{k}.own", width, inner)
            found |= linear_shapes(f"blocks.{k}.mean", width, inner, bias=False)
            found |= linear_shapes(f"blocks.{k}.out", inner, width)
        found |= {f"norm.{name}": shape for name, shape in norm.items()}
        found |= linear_shapes("read", width, inner)
        found |= linear_shapes("output", inner, outputs)
        return found | linear_shapes("linear", inputs, outputs, bias=False)

    @property
    def n_hidden(self) -> int:
        """Number of hidden layers: the blocks and the read-out."""
        return len(self.blocks) + 1

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        return self.output

    def stages(self) -> list[list[nn.Parameter]]:
        """The parameters, from the embedding of the elements through the blocks to the output."""
        first = [self.embedding, *self.fraction.parameters()]
        read = [*self.norm.parameters(), *self.read.parameters()]
        output = [*self.output.parameters(), *self.linear.parameters()]
        return [first, *(list(block.parameters()) for block in self.blocks), read, output]

    def keep_outputs(self, rows: Sequence[int]) -> None:
        """Reduce the net to these outputs, in place."""
        keep_rows(self.output, rows)
        keep_rows(self.linear, rows)

    def renew_outputs(self, outputs: int) -> None:
        """Begin the output layers anew, in place."""
        fresh_rows(self.output, outputs)
        fresh_rows(self.linear, outputs)
        nn.init.zeros_(self.linear.weight)

    def activations(self, x_BF: Tensor, layers: Collection[int]) -> dict[int, Tensor]:
        """The mean over the elements of a row after each of `layers` (1 … `n_hidden`), shape B × H."""
        row_N, column_N = x_BF.nonzero(as_tuple=True)
        fraction_N = x_BF[row_N, column_N]
        width = self.embedding.shape[1]
        h_NH = self.embedding.gather(0, column_N[:, None].expand(-1, width)) + self.fraction(waves(fraction_N))
        found = {}
        for layer in range(1, max(layers) + 1):
            if layer < self.n_hidden:
                h_NH = self.blocks[layer - 1](h_NH, row_N, fraction_N, len(x_BF))
            else:
                h_NH = self.read(self.norm(h_NH)).relu()
            if layer in layers:
                found[layer] = pool(h_NH, row_N, fraction_N, len(x_BF))
        return found

    def answer(self, h_BH: Tensor, x_BF: Tensor) -> Tensor:
        """Scaled predictions from the activations of the last hidden layer and the input, shape B × P."""
        return self.output(h_BH).float() + self.linear(x_BF).float()

    def forward(self, x_BF: Tensor) -> Tensor:
        """Scaled predictions, shape B × P."""
        return self.answer(self.activations(x_BF, (self.n_hidden,))[self.n_hidden], x_BF)


def waves(fraction_N: Tensor) -> Tensor:
    """What a net sees of a fraction: itself, its logarithm, and waves that tell 1/3 from 3/8; N × 18."""
    f = fraction_N[:, None]
    angle = math.pi * f * torch.arange(1, _WAVES + 1, device=f.device, dtype=f.dtype)
    return torch.cat([f, f.clamp(min=_SMALLEST).log() / 5, angle.sin(), angle.cos()], dim=1)


def pool(h_NH: Tensor, row_N: Tensor, fraction_N: Tensor, rows: int) -> Tensor:
    """Fraction-weighted sum over the elements of each row, float32 [B, H]."""
    weighted = h_NH.float() * fraction_N[:, None]
    total = torch.zeros(rows, weighted.shape[1], device=weighted.device)
    return total.scatter_add(0, row_N[:, None].expand_as(weighted), weighted)
