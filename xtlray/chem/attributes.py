"""Compositions to the 145 physical attributes of Ward et al., computed by matminer, in as many processes as wanted.

Source: Ward, Agrawal, Choudhary, Wolverton, "A general-purpose machine learning framework for predicting properties
of inorganic materials", npj Comput. Mater. 2, 16028 (2016), doi 10.1038/npjcompumats.2016.28; the physical attributes
of Gupta et al., Nat. Commun. 12, 6595 (2021). They depend on atomic fractions alone.

Shapes: B rows, A attributes.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from xtlray.chem.formula import SYMBOLS, Compositions, composition_keys

COUNT = 145
"""A: stoichiometry 6, statistics of elemental properties 132, valence orbitals 4, ionic character 3."""

_CHUNK = 500  # compositions of a task: about a second
_LARGEST_DENOMINATOR = 1000
_ROUNDING = 1e-7  # of a fraction in float32
_PAYS = 2_000  # compositions below which starting processes, each of which imports matminer, takes longer


def attributes(compositions: Compositions, processes: int = 1) -> np.ndarray:
    """The physical attributes of each row.

    Args:
        compositions: of elements that matminer's tables hold, H to Pu.
        processes: how many to share the work among; few rows are done here whatever it says.

    Returns:
        float32 [B, A] in the order of `names()`; NaN where a table has no entry for an element, as for melting
        points of some noble gases. Rows without elements are NaN altogether.
    """
    keys = composition_keys(compositions)
    first = {key: row for row, key in reversed(list(enumerate(keys)))}  # a composition is worked out once
    distinct = sorted(first.values())
    chosen = compositions.take(np.array(distinct, np.int64))
    if processes > 1 and len(distinct) >= _PAYS:
        pieces = [chosen.take(np.arange(i, min(i + _CHUNK, len(chosen)))) for i in range(0, len(chosen), _CHUNK)]
        # Not forked: a process that has threads of torch or Ray cannot be copied safely.
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            found = np.concatenate(list(pool.map(_work_out, pieces)))
    else:
        found = _work_out(chosen)
    place = {keys[row]: i for i, row in enumerate(distinct)}
    return found[np.array([place[key] for key in keys], np.int64)]


def names() -> list[str]:
    """What each attribute is, in matminer's words."""
    return list(_featurizer().feature_labels())


def recipe() -> str:
    """A short name of what `attributes` computes: it changes with the attributes and with matminer's version."""
    text = f"ward2016 {COUNT} matminer {version('matminer')}"
    return f"ward2016-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _work_out(compositions: Compositions) -> np.ndarray:
    rows = [_featurize(compositions, row) for row in range(len(compositions))]
    return np.array(rows, np.float32).reshape(len(rows), COUNT)


def _featurize(compositions: Compositions, row: int) -> Sequence[float]:
    from pymatgen.core import Composition

    part = slice(int(compositions.offsets[row]), int(compositions.offsets[row + 1]))
    symbols = [SYMBOLS[z - 1] for z in compositions.z[part]]
    if not symbols:
        return [np.nan] * COUNT
    amounts = dict(zip(symbols, _amounts(compositions.fraction[part].tolist()), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing entries, which are NaN here
        return [float(value) for value in _featurizer().featurize(Composition(amounts))]


def _amounts(fractions: Sequence[float]) -> Sequence[float]:
    """Whole numbers of atoms with these fractions, or the fractions where small ones do not exist.

    Whether charges can cancel is decided to 1e-8, which the rounding of a fraction in float32 exceeds.
    """
    ratios = [Fraction(fraction).limit_denominator(_LARGEST_DENOMINATOR) for fraction in fractions]
    if any(abs(float(ratio) - fraction) > _ROUNDING for ratio, fraction in zip(ratios, fractions, strict=True)):
        return fractions
    common = math.lcm(*(ratio.denominator for ratio in ratios))
    return [float(ratio * common) for ratio in ratios]


@cache
def _featurizer() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.base import MultipleFeaturizer
        from matminer.featurizers.composition import ElementProperty, IonProperty, Stoichiometry, ValenceOrbital

        parts = [
            Stoichiometry(),
            ElementProperty.from_preset("magpie"),
            ValenceOrbital(props=["avg"]),
            IonProperty(fast=True),
        ]
        return MultipleFeaturizer(parts)
