"""A transfer model in scikit-learn's manners: formulas and values in, values out; no job, no Ray, nothing kept.

Shape suffixes: B rows, K members.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from xtlray.chem.formula import Compositions, parse
from xtlray.chem.fractions import FractionEncoder
from xtlray.data.inputs import InputEncoder
from xtlray.errors import RequestError, WorkError
from xtlray.nn.members import LiveMember, NetMember, ensemble
from xtlray.registry.model import load_model, source_net
from xtlray.registry.versions import resolve
from xtlray.store import Store, canonical_json
from xtlray.training.metrics import mae
from xtlray.transfer.budget import members_for
from xtlray.transfer.methods import get_method
from xtlray.transfer.plan import COMPARE, Facts, TrialSpec, arms_of, first_trials
from xtlray.transfer.selection import choose_lowest
from xtlray.transfer.settings import Effort, TransferSettings
from xtlray.transfer.task import FOLDS, Pool, folds_of
from xtlray.transfer.trial import fit_spec

log = logging.getLogger("xtlray.estimator")


class TransferRegressor(RegressorMixin, BaseEstimator):
    """A property model that starts from a pretrained one; to be used as any regressor of scikit-learn, on formulas.

    The compositions are cut into ten folds. Configurations are compared on folds held out from them; the best one is
    fitted several times, each with another fold held out, and the answers of these members are averaged.

    Args:
        source: the model to start from: `name`, `name@3` or `name@alias`; methods from scratch leave it unread.
        method: one of those of transfer jobs, such as `tl-finetune`.
        effort: `quick`, `standard` or `full`: how many configurations are tried, and how long each trains.
        seeds: members of the model; by default 1, 2 or 5 by effort, and more where rows are few.
        net: of methods that start from scratch.
        store: where the source lies, a URL or a folder; by default `$XTLRAY_STORE`, else `./xtlray-store`.

    Attributes:
        members_: the fitted members.
        config_: the chosen configuration.
        val_mae_: the mean error of its members on the folds that were held out from them, in the unit of `y`.

    Example:
        `cross_val_score(TransferRegressor(source="builtin/oqmd"), formulas, gaps, scoring="neg_mean_absolute_error")`
    """

    def __init__(
        self,
        source: str = "builtin/oqmd",
        method: str = "tl-finetune",
        effort: Effort = "quick",
        seeds: int | None = None,
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
        self._check()
        method = get_method(self.method)
        self.encoder_ = InputEncoder(FractionEncoder(), method.needs_attributes)
        compositions = self._compositions(X)
        y_B = np.asarray(y, np.float64)
        if y_B.shape != (len(compositions),) or not np.isfinite(y_B).all():
            got = f"shape {y_B.shape}, {int((~np.isfinite(y_B)).sum())} not finite, for {len(compositions)} formulas"
            raise RequestError("Values do not fit the formulas", got=got, allowed="one finite number for each")
        pool = self._pool(compositions, y_B)
        sources = {}
        if method.needs_source:
            ref = resolve(Store.open(self.store), self.source, announce=log.info)
            sources["source@1"] = source_net(load_model(ref))
        trials = self._chosen(self._first(y_B, sources), pool, sources)
        kept = [(error, member) for error, member in (self._attempt(s, pool, sources) for s in trials) if member]
        if not kept:
            raise RequestError("No member has a validation error that is a number", got=self.method)
        self.config_, self.members_ = trials[0].config, [member for _, member in kept]
        self.val_mae_ = float(np.mean([error for error, _ in kept]))
        return self

    def _attempt(
        self, spec: TrialSpec, pool: Pool, sources: Mapping[str, NetMember]
    ) -> tuple[float, LiveMember | None]:
        """A trial's error on its fold and its member; infinite, and none, where it diverged or is no number."""
        task = pool.task(spec.seed)
        try:
            member = fit_spec(spec, task, sources).member
            error = mae(task.y_val_B, member.predict(task.x_val_BX))
        except (WorkError, FloatingPointError) as problem:
            log.warning("a configuration of %s failed: %s", self.method, problem)
            return math.inf, None
        return (error, member) if error is not None and np.isfinite(error) else (math.inf, None)

    def _check(self) -> None:
        if self.effort not in get_args(Effort) or (self.seeds is not None and self.seeds < 1):
            got = f"effort {self.effort!r}, {self.seeds} seeds"
            raise RequestError("A setting is impossible", got=got, allowed="quick, standard or full; one seed or more")

    def _first(self, y_B: NDArray[np.float64], sources: Mapping[str, NetMember]) -> list[TrialSpec]:
        """The trials that a job of this method, on this one target, begins with."""
        given = {"effort": self.effort, "seeds": self.seeds, "methods": self.method, "net": self.net}
        job = TransferSettings.parse({"targets": "one/target", **given}, "TransferRegressor")
        nets = {name: net.spec for name, net in sources.items()}
        (arm,) = arms_of(job, [""], sources)
        head = sources["source@1"].heads[0].property if sources and sources["source@1"].outputs > 1 else None
        return first_trials([arm], job, {"": Facts.of("", y_B)}, nets, {arm: head})

    def _chosen(self, first: list[TrialSpec], pool: Pool, sources: Mapping[str, NetMember]) -> list[TrialSpec]:
        """The trials that become members: of the configuration with the lowest validation error."""
        if first[0].rung != COMPARE:
            return first
        errors: dict[bytes, list[float]] = {}
        for spec in first:
            errors.setdefault(canonical_json(spec.config), []).append(self._attempt(spec, pool, sources)[0])
        means = [float(np.mean(each)) for each in errors.values()]
        best = choose_lowest((mean, f"{i:06d}", i) for i, mean in enumerate(means))
        if best is None or not math.isfinite(means[best]):
            raise RequestError("No configuration has a validation error that is a number", got=self.method)
        config = json.loads(list(errors)[best])
        members = range(members_for(self.effort, len(pool.y_B), self.seeds))
        return [TrialSpec(first[0].arm, "", config, seed) for seed in members]

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

    def _pool(self, compositions: Compositions, y_B: NDArray[np.float64]) -> Pool:
        fold_B = folds_of(compositions, FOLDS)
        if not fold_B.any():
            raise RequestError("There is nothing to choose by", got="one composition", allowed="two or more")
        x_BX, width = self.encoder_.encode(compositions), len(self.encoder_.fractions.elements)
        return Pool("", "", "", x_BX, y_B, fold_B.astype(np.uint8), x_BX[:0], {}, width)
