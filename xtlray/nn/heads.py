"""scikit-learn heads ↔ bytes, by skops with a closed list of types: a file that holds anything else is refused."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from xtlray.errors import StoreError
from xtlray.nn.trees import what_is_wrong

# skops trusts numpy arrays and scikit-learn's own estimators; beyond those a head may hold exactly these.
TRUSTED: tuple[str, ...] = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)


def pack_head(estimator: Any) -> bytes:
    """A fitted scikit-learn estimator as a skops file."""
    import skops.io  # here: it takes as long as torch, and every trial process would wait for it

    return skops.io.dumps(estimator)


def unpack_head(data: bytes, where: str) -> Any:
    """The estimator in a skops file read from `where`. Raises `StoreError` for damage and for types off the list."""
    import skops.io

    try:
        strange = [name for name in skops.io.get_untrusted_types(data=data) if name not in TRUSTED]
        if strange:
            raise StoreError("A head holds types that it may not hold", got=f"{where}: {', '.join(strange[:5])}")
        head = skops.io.loads(data, trusted=list(TRUSTED))
    except (
        zipfile.BadZipFile, ValueError, KeyError, TypeError, IndexError, AttributeError, io.UnsupportedOperation,
    ) as error:  # fmt: skip
        raise StoreError("A head's file is damaged or cut short", got=f"{where}: {error}") from error
    try:
        wrong = what_is_wrong(head)
    except Exception as error:  # an attribute that is missing, or of any other type: whatever a file may say
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        raise StoreError("A head cannot be used", got=f"{where}: {wrong}")
    return head
