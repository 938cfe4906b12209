"""What a trial sees of a target: training and validation rows. Test rows are not in it, so nothing can peek.

Shape suffixes: B rows, X columns of the input: the elemental fractions, and behind them the physical attributes where
they are wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtlray.chem.fractions import ELEMNET_ELEMENTS
from xtlray.data.dataset import Dataset
from xtlray.data.inputs import InputEncoder
from xtlray.errors import WorkError
from xtlray.nn.scaler import TargetScaler

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One target: inputs float32 B × X, targets float64 B in the property's unit.

    `skipped` counts rows, per split, with an element that the encoder cannot hold; `fractions` the columns of the
    input that are elemental fractions.
    """

    target: str
    data_hash: str
    split_id: str
    x_train_BX: NDArray[np.float32]
    y_train_B: Array
    x_val_BX: NDArray[np.float32]
    y_val_B: Array
    skipped: dict[str, int]
    fractions: int = len(ELEMNET_ELEMENTS)

    @property
    def scaler(self) -> TargetScaler:
        """Fitted on the training rows."""
        return TargetScaler.fit(self.y_train_B[:, np.newaxis])


def make_task(dataset: Dataset, encoder: InputEncoder) -> Task:
    """The task of a dataset. Raises `WorkError` where no row to train on or to validate on can be encoded."""
    arrays, skipped = {}, {}
    for split in ("train", "val"):
        rows = dataset.rows(split)
        x_BX, kept, skipped[split] = rows.encode(encoder.fractions)
        if not len(x_BX):
            raise WorkError(
                f"The target has no {split} rows that the net's input can hold",
                got=f"{dataset.card.name}: {skipped[split]} rows with other elements",
                allowed="at least one row of the 86 elements of ElemNet",
            )
        arrays[split] = encoder.widen(x_BX, rows, kept), rows.y_B[kept]
    (x_train, y_train), (x_val, y_val) = arrays["train"], arrays["val"]
    card = dataset.card
    width = len(encoder.fractions.elements)
    return Task(card.name, card.data_hash, card.split_id, x_train, y_train, x_val, y_val, skipped, width)
