"""What a member reads of a composition: blocks of columns side by side, some made by nets that are carried over.

The input of every member is the same wide array: the elemental fractions first, behind them the physical attributes
where the model wants them. A block picks columns of it, or what a source net makes of the fractions.

Shape suffixes: B rows, X columns of the input, F elemental fractions, H columns of all blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xtlray.chem.attributes import COUNT
from xtlray.errors import RequestError

if TYPE_CHECKING:
    from xtlray.nn.members import NetMember

Kind = Literal["fractions", "attributes", "activations", "answers"]


@dataclass(frozen=True)
class Block:
    """Some of a member's columns.

    Attributes:
        kind: `fractions`, `attributes`; `activations` of a source's hidden layer; its `answers`, in physical units.
        layer: of the activations, 1 … `n_hidden`.
        source: which of the member's sources.
    """

    kind: Kind
    layer: int | None = None
    source: int = 0

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Features:
    """Blocks side by side.

    Attributes:
        blocks: in the order of their columns.
        sources: the nets that blocks speak of.
        fractions: F, how many columns of the input are elemental fractions.
    """

    blocks: tuple[Block, ...]
    sources: tuple[NetMember, ...]
    fractions: int

    @property
    def attributes(self) -> bool:
        """Whether the input has to hold physical attributes."""
        return any(block.kind == "attributes" for block in self.blocks)

    @property
    def width(self) -> int:
        """H."""
        nothing = np.full((1, self.fractions + COUNT), 1 / self.fractions, np.float32)
        return self.of(nothing).shape[1]

    def of(self, x_BX: NDArray[np.float32]) -> NDArray[np.float32]:
        """The columns of all blocks, float32 B × H.

        Raises:
            RequestError: the input has no physical attributes, and a block wants them.
        """
        return beside([self.columns(block, x_BX) for block in self.blocks])

    def columns(self, block: Block, x_BX: NDArray[np.float32]) -> NDArray[np.float32]:
        """Those of one block, float32 B × its width."""
        x_BF = x_BX[:, : self.fractions]
        if block.kind == "fractions":
            return x_BF
        if block.kind == "attributes":
            found = x_BX[:, self.fractions :]
            if found.shape[1] != COUNT:
                raise RequestError(
                    "The input has no physical attributes",
                    got=f"{x_BX.shape[1]} columns",
                    allowed=f"{self.fractions} elemental fractions and {COUNT} attributes",
                )
            return np.nan_to_num(found)  # an attribute that matminer's tables lack
        source = self.sources[block.source]
        if block.kind == "activations":
            assert block.layer is not None, "activations are of a layer"
            return source.features(x_BF, block.layer)
        return source.predict_all(x_BF).astype(np.float32)


def beside(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Columns of several blocks as one array."""
    return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def everything(sources: Sequence[NetMember], fractions: int, activations: bool = True) -> Features:
    """All inputs side by side, and of each source its answers and, if wanted, its last hidden layer."""
    blocks = [Block("fractions"), Block("attributes")]
    for k, source in enumerate(sources):
        blocks.append(Block("answers", source=k))
        if activations:
            blocks.append(Block("activations", source.net.n_hidden, k))
    return Features(tuple(blocks), tuple(sources), fractions)


def check_blocks(blocks: Sequence[Block], layers: Sequence[int]) -> str | None:
    """What is wrong with blocks on sources of so many hidden layers each; None for nothing."""
    for block in blocks:
        needs = block.kind in ("activations", "answers")
        if needs and not 0 <= block.source < len(layers):
            return f"a block of source {block.source} of {len(layers)}"
        if block.kind == "activations" and not (block.layer and 1 <= block.layer <= layers[block.source]):
            return f"layer {block.layer} of {layers[block.source]}"
    return None if blocks else "no blocks"
