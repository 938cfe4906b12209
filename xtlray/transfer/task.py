"""What a trial sees of a target: training and validation rows. Test rows are not in it, so nothing can peek.

Shape suffixes: B rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import Dataset
from xtlray.errors import WorkError
from xtlray.nn.scaler import TargetScaler

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One target: inputs float32 B × F, targets float64 B in the property's unit.

    `skipped` counts rows, per split, with an element that the encoder cannot hold.
    """

    target: str
    data_hash: str
    split_id: str
    x_train_BF: NDArray[np.float32]
    y_train_B: Array
    x_val_BF: NDArray[np.float32]
    y_val_B: Array
    skipped: dict[str, int]

    @property
    def scaler(self) -> TargetScaler:
        """Fitted on the training rows."""
        return TargetScaler.fit(self.y_train_B[:, np.newaxis])


def make_task(dataset: Dataset, encoder: FractionEncoder) -> Task:
    """The task of a dataset. Raises `WorkError` where no row to train on or to validate on can be encoded."""
    arrays, skipped = {}, {}
    for split in ("train", "val"):
        rows = dataset.rows(split)
        x_BF, kept, skipped[split] = rows.encode(encoder)
        arrays[split] = x_BF, rows.y_B[kept]
        if not len(x_BF):
            raise WorkError(
                f"The target has no {split} rows that the net's input can hold",
                got=f"{dataset.card.name}: {skipped[split]} rows with other elements",
                allowed="at least one row of the 86 elements of ElemNet",
            )
    (x_train, y_train), (x_val, y_val) = arrays["train"], arrays["val"]
    card = dataset.card
    return Task(dataset.card.name, card.data_hash, card.split_id, x_train, y_train, x_val, y_val, skipped)
