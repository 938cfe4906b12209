"""scikit-learn heads ↔ bytes, by skops with a closed list of types: a file that holds anything else is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from xtlray.errors import StoreError
from xtlray.nn.headfile import check_head_file
from xtlray.nn.trees import what_is_wrong
from xtlray.strict import in_short

# What skops, for its own part, does not trust: `trees.py` looks at the numbers in them.
_TRUSTED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.tree._tree.Tree")


def pack_head(estimator: Any) -> bytes:
    """A fitted scikit-learn estimator as a skops file."""
    import skops.io  # here: it takes as long as torch, and every trial process would wait for it

    return skops.io.dumps(estimator)


def unpack_head(data: bytes, where: str) -> Any:
    """The estimator in a skops file read from `where`, which predicts: it is tried.

    Raises:
        StoreError: the file is damaged, holds types off the list, or an estimator that would not predict.
    """
    import skops.io

    check_head_file(data, where)
    try:
        head = skops.io.loads(data, trusted=list(_TRUSTED))
    except Exception as error:  # numbers and texts in it may be any, and so may be what scikit-learn says to them
        shown = in_short(f"{type(error).__name__}: {error}")
        raise StoreError("A head's file is damaged or cut short", got=f"{where}: {shown}") from error
    try:
        wrong = what_is_wrong(head) or _wrong_answers(head)
    except Exception as error:  # an attribute that is missing, or of any other type
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        raise StoreError("A head cannot be used", got=f"{where}: {in_short(wrong)}")
    return head


def _wrong_answers(head: Any) -> str | None:
    """Whether it answers a number a row: for one row, and for two, as what does not fit may pass for one of these."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for rows in (1, 2):
            answer = np.asarray(head.predict(np.zeros((rows, head.n_features_in_), np.float32)))
            if answer.shape != (rows,) or answer.dtype.kind not in "fiu":
                return f"answers of shape {answer.shape} for {rows} rows"
    return None
