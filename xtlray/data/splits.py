"""Which side (train, val, test) a row falls on, decided by its composition and by nothing else.

A composition's place u in [0, 1) is a hash of its atomic fractions (rounded to 5 decimals) and a fixed seed, so it is
the same in every dataset, in every order and on every machine: a net trained on several properties has not seen one's
test rows through another. Three protocols use it; which one a dataset follows stands in its card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

import numpy as np

from xtlray.chem.formula import Compositions, composition_keys
from xtlray.errors import RequestError

_SEED = b"xtlray split 1"  # another seed is another protocol: it would have to be named in `Protocol` too
TRAIN, VAL, TEST = 0, 1, 2  # places in `records.SPLITS`
_TEST_BELOW, _VAL_BELOW = 0.10, 0.19
_CARVED_VAL_BELOW = 0.10


class Protocol(StrEnum):
    """How a dataset is cut; the value is what its card says.

    In `PUBLISHED` and `TRAIN_ONLY` the validation rows are those with u < 0.10, which are the *test* compositions of
    every `POOL` dataset. So what such a target trains on is never a test composition of a pool.
    """

    POOL = "by composition 81/9/10"
    PUBLISHED = "published test rows; validation 10 % of the other compositions"
    TRAIN_ONLY = "by composition 90/10, no test rows"


@dataclass(frozen=True)
class Cut:
    """How the rows of a dataset were cut.

    Attributes:
        side_B: int8, the side of each row: 0 train, 1 val, 2 test.
        compositions: how many different compositions there are.
        shared: how many test rows have a composition that occurs among training or validation rows too; 0 unless the
            split was published so.
    """

    side_B: np.ndarray
    compositions: int
    shared: int


def places(compositions: Compositions) -> np.ndarray:
    """float64 [B] in [0, 1): the place u of each composition."""
    return _places(compositions)[0]


def cut(compositions: Compositions, protocol: Protocol, published: Sequence[str] | None = None) -> Cut:
    """Cut a dataset by `protocol`.

    Where a dataset is so small that no composition falls on the training or the validation side, the one nearest to
    that side is moved there: without both, nothing can be trained and selected. Published test rows never move, and a
    small pool may end up without test rows.

    Args:
        compositions: the kept rows.
        protocol: how to cut.
        published: for `Protocol.PUBLISHED` and only there, "train" or "test" per row.

    Raises:
        RequestError: fewer than two compositions could serve for training and validation.
    """
    u_B, code_B = _places(compositions)
    if protocol is Protocol.POOL:
        side_B = np.select([u_B < _TEST_BELOW, u_B < _VAL_BELOW], [TEST, VAL], TRAIN).astype(np.int8)
    else:
        side_B = np.where(u_B < _CARVED_VAL_BELOW, VAL, TRAIN).astype(np.int8)
    is_test = np.zeros(len(side_B), bool)
    if protocol is Protocol.PUBLISHED:
        assert published is not None
        assert len(published) == len(compositions)
        is_test = np.array([side == "test" for side in published], bool)
    side_B[~is_test] = _filled(side_B[~is_test], u_B[~is_test], code_B[~is_test])
    side_B[is_test] = TEST
    shared = np.isin(code_B[side_B == TEST], code_B[side_B != TEST]).sum()
    return Cut(side_B, int(code_B.max()) + 1, int(shared))


def _places(compositions: Compositions) -> tuple[np.ndarray, np.ndarray]:
    """The place of each row, and a number (from 0) that is the same for rows of the same composition."""
    keys = composition_keys(compositions)
    codes: dict[bytes, int] = {}
    code_B = np.fromiter((codes.setdefault(key, len(codes)) for key in keys), np.int64, len(keys))
    digests = b"".join(blake2b(_SEED + key, digest_size=8).digest() for key in codes)
    # The upper 53 bits: what a float64 holds exactly, so that u is below 1.
    u = (np.frombuffer(digests, ">u8") >> np.uint64(11)).astype(np.float64) / 2**53
    return u[code_B], code_B


def _filled(side_B: np.ndarray, u_B: np.ndarray, code_B: np.ndarray) -> np.ndarray:
    """`side_B` with a composition moved to the validation side, and to the training side, where there is none."""
    found = len(np.unique(code_B))
    if found < 2:
        raise RequestError(
            "The dataset is too small to train on some rows and validate on others",
            got=f"{found} different composition{'s' * (found != 1)} in {len(side_B)} row{'s' * (len(side_B) != 1)}",
            allowed="at least two compositions, not counting a published test file",
            fix="give more rows",
        )
    side_B = side_B.copy()
    on = {side: side_B == side for side in (TRAIN, VAL, TEST)}
    if not on[VAL].any():
        nearest = u_B[on[TRAIN]].min() if on[TRAIN].any() else u_B[on[TEST]].max()
        side_B[u_B == nearest] = VAL
    if not (side_B == TRAIN).any():
        validates = side_B == VAL
        donors = validates if len(np.unique(code_B[validates])) > 1 else side_B == TEST
        side_B[u_B == u_B[donors].max()] = TRAIN
    return side_B
