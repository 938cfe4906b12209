"""What was predicted for the test rows of each result, kept so that anyone can score them again.

Shape suffixes: B test rows.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xtlray.errors import MissingKeyError, StoreError
from xtlray.records import ResultRecord
from xtlray.store import Store


@dataclass(frozen=True, eq=False)
class Predicted:
    """The test rows of a result, in the dataset's order.

    Attributes:
        formulas: as they were given.
        y_B: their values, in the property's unit; `answer_B`: what was predicted.
        new_B: whose composition was not trained on.
    """

    formulas: list[str]
    y_B: NDArray[np.float64]
    answer_B: NDArray[np.float64]
    new_B: NDArray[np.bool_]

    @property
    def rows_id(self) -> str:
        """The same for the same test rows with the same values, whatever the dataset is called."""
        text = "\n".join(self.formulas).encode()
        return hashlib.sha256(text + self.y_B.astype("<f8").tobytes()).hexdigest()[:12]

    @property
    def errors_B(self) -> NDArray[np.float64]:
        """Absolute errors."""
        return np.abs(self.y_B - self.answer_B)


def read_predictions(store: Store, result: ResultRecord) -> Predicted | None:
    """What a result predicted; None where it has no test rows.

    Raises:
        StoreError: the file is missing or damaged.
    """
    if not result.rows_test or result.test_mae is None or not result.predictions:
        return None
    key = result.predictions
    try:
        table = pq.read_table(io.BytesIO(store.get(key)))
        columns = {name: table[name].to_numpy() for name in ("value", "predicted", "new")}
        formulas = table["formula"].to_pylist()
    except MissingKeyError as error:
        raise StoreError("The predictions of a result are missing", got=key, fix="run the job with --again") from error
    except (pa.ArrowException, OSError, KeyError) as error:
        raise StoreError("The predictions of a result are damaged", got=f"{key}: {error}") from error
    return Predicted(formulas, columns["value"], columns["predicted"], columns["new"])


def rescore(store: Store, result: ResultRecord) -> dict[str, Any]:
    """A result's test figures, worked out again from what it predicted, beside those that it has.

    Returns:
        `target, method, source, run, test_mae, rescored_test_mae, rescored_test_rmse, rescored_test_r2,
        rescored_test_mae_new_compositions, agrees`; `agrees` is None where there is nothing to score.
    """
    from xtlray.training.metrics import mae, r2, rmse  # brings torch, which nothing else here needs

    row: dict[str, Any] = {name: getattr(result, name) for name in ("target", "method", "source", "run", "test_mae")}
    found = read_predictions(store, result)
    again: dict[str, float | None] = dict.fromkeys(("test_mae", "test_rmse", "test_r2", "test_mae_new_compositions"))
    if found is not None:
        again = {
            "test_mae": mae(found.y_B, found.answer_B),
            "test_rmse": rmse(found.y_B, found.answer_B),
            "test_r2": r2(found.y_B, found.answer_B),
            "test_mae_new_compositions": mae(found.y_B[found.new_B], found.answer_B[found.new_B]),
        }
    agrees = found and all(_alike(getattr(result, name), value) for name, value in again.items())
    return {**row, **{f"rescored_{name}": value for name, value in again.items()}, "agrees": agrees}


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.isclose(one, other, rtol=1e-9, atol=0.0))
