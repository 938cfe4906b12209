"""xtlray: pretrain on a big materials database, transfer to hundreds of small properties, keep the models.

`xtlray.load("jarvis/bulkmoduluskv@best").predict(["SiO2", "TiN"])` is the shortest way to use a model, and
`xtlray.TransferRegressor(source="builtin/oqmd").fit(formulas, values)` to make one; `xtlray.search(property="gap")`
finds them. Importing this package imports neither torch nor Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xtlray.estimator import TransferRegressor
    from xtlray.pipeline import load
    from xtlray.registry.search import search_models as search

__all__ = ["TransferRegressor", "load", "search"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":
        from xtlray.pipeline import load

        return load
    if name == "TransferRegressor":
        from xtlray.estimator import TransferRegressor

        return TransferRegressor
    if name == "search":
        from xtlray.registry.search import search_models

        return search_models
    raise AttributeError(f"module 'xtlray' has no attribute {name!r}")
