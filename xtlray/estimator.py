"""A transfer model in scikit-learn's manners: formulas and values in, values out; no job, no Ray, nothing kept.

Shape suffixes: B rows, K members.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from xtlray.chem.formula import Compositions, parse
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.inputs import InputEncoder
from xtlray.data.splits import Protocol, cut
from xtlray.errors import RequestError
from xtlray.nn.members import ensemble
from xtlray.nn.nets import resolve_net
from xtlray.registry.model import load_model, source_net
from xtlray.registry.versions import resolve
from xtlray.store import Store
from xtlray.training.metrics import mae
from xtlray.transfer.method import Config, Fitted, Setting
from xtlray.transfer.methods import get_method
from xtlray.transfer.selection import choose_lowest
from xtlray.transfer.settings import Effort, TransferSettings
from xtlray.transfer.task import Task

log = logging.getLogger("xtlray.estimator")


class TransferRegressor(RegressorMixin, BaseEstimator):
    """A property model that starts from a pretrained one; to be used as any regressor of scikit-learn, on formulas.

    A tenth of the compositions is held out of the training to choose the configuration; the chosen one is fitted with
    several seeds, whose answers are averaged.

    Args:
        source: the model to start from: `name`, `name@3` or `name@alias`; methods from scratch leave it unread.
        method: one of those of transfer jobs, such as `tl-finetune`.
        effort: `quick`, `standard` or `full`: how many configurations are tried, and how long each trains.
        seeds: members of the model, where the method is a seeded one.
        net: of methods that start from scratch.
        store: where the source lies, a URL or a folder; by default `$XTLRAY_STORE`, else `./xtlray-store`.

    Attributes:
        members_: the fitted members.
        config_: the chosen configuration; `val_mae_` its validation MAE with the first seed, in the unit of `y`.

    Example:
        `cross_val_score(TransferRegressor(source="builtin/oqmd"), formulas, gaps, scoring="neg_mean_absolute_error")`
    """

    def __init__(
        self,
        source: str = "builtin/oqmd",
        method: str = "tl-finetune",
        effort: Effort = "quick",
        seeds: int = 3,
        net: Any = "elemnet",
        store: str | None = None,
    ) -> None:
        self.source = source
        self.method = method
        self.effort = effort
        self.seeds = seeds
        self.net = net
        self.store = store

    def fit(self, X: Iterable[str], y: ArrayLike) -> TransferRegressor:
        """Train on formulas, such as `["SiO2", "Ca(OH)2"]`, and their values.

        Raises:
            RequestError: formulas cannot be read or held, values are missing or not as many, there are fewer than two
                compositions, or a setting is impossible.
        """
        if self.effort not in get_args(Effort) or self.seeds < 1:
            got = f"effort {self.effort!r}, {self.seeds} seeds"
            raise RequestError("A setting is impossible", got=got, allowed="quick, standard or full; one seed or more")
        method = get_method(self.method)
        self.encoder_ = InputEncoder(FractionEncoder(), method.needs_attributes)
        compositions = self._compositions(X)
        y_B = np.asarray(y, np.float64)
        if y_B.shape != (len(compositions),) or not np.isfinite(y_B).all():
            got = f"shape {y_B.shape}, {int((~np.isfinite(y_B)).sum())} not finite, for {len(compositions)} formulas"
            raise RequestError("Values do not fit the formulas", got=got, allowed="one finite number for each")
        task = self._task(compositions, y_B)
        source = None
        if method.needs_source:
            source = source_net(load_model(resolve(Store.open(self.store), self.source, announce=log.info)))
        job = TransferSettings.parse({"targets": "one/target", "effort": self.effort}, "TransferRegressor")
        regressors = job.regressors_for(len(task.y_train_B))
        head = source.heads[0].property if source is not None and source.outputs > 1 else None
        setting = Setting(
            self.effort, len(task.y_train_B), resolve_net(self.net), source.spec if source else None, head, regressors
        )

        def attempt(config: Config, seed: int) -> tuple[float | None, Fitted]:
            fitted = method.fit(task, source, config, seed)
            error = mae(task.y_val_B, fitted.member.predict(task.x_val_BX))
            return (error if error is not None and np.isfinite(error) else None), fitted

        tried = [(config, *attempt(config, 0)) for config in method.search(setting)]
        best = choose_lowest((error, f"{i:06d}", i) for i, (_, error, _) in enumerate(tried))
        if best is None:
            raise RequestError("No configuration has a validation error that is a number", got=self.method)
        self.config_, self.val_mae_, first = tried[best]
        further = range(1, self.seeds if method.seeded else 1)
        self.members_ = [first.member, *(attempt(self.config_, seed)[1].member for seed in further)]
        return self

    def predict(self, X: Iterable[str]) -> NDArray[np.float64]:
        """Values for formulas, in the unit of `y`, float64 B. Raises `RequestError` for unreadable formulas."""
        check_is_fitted(self, "members_")
        compositions = self._compositions(X)
        if not len(compositions):
            return np.zeros(0)
        return ensemble(self.members_, self.encoder_.encode(compositions))[0]

    def _compositions(self, X: Iterable[str]) -> Compositions:
        if isinstance(X, str):
            raise RequestError("Formulas are wanted as a list", got=repr(X), fix=f"[{X!r}]")
        formulas = [str(text) for text in np.asarray(X, dtype=object).ravel()]
        found, reasons = parse(formulas)
        missing = self.encoder_.fractions.missing(found)
        bad = {**{row: f"no net of ours holds {', '.join(symbols)}" for row, symbols in missing.items()}, **reasons}
        if bad:
            row = min(bad)
            raise RequestError(
                f"{len(bad)} of {len(formulas)} formulas cannot be used",
                got=f"{formulas[row]!r} (place {row}): {bad[row]}",
                fix="leave them out",
            )
        return found

    def _task(self, compositions: Compositions, y_B: NDArray[np.float64]) -> Task:
        """Training and validation rows; what the source held back for its own test falls on the validation side."""
        x_BX, val_B = self.encoder_.encode(compositions), cut(compositions, Protocol.TRAIN_ONLY).side_B == 1
        width = len(self.encoder_.fractions.elements)
        return Task("", "", "", x_BX[~val_B], y_B[~val_B], x_BX[val_B], y_B[val_B], {"train": 0, "val": 0}, width)
