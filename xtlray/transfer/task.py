"""What trials see of a target: rows to train on, cut into folds, and inputs of its test rows without their values.

Shape suffixes: B rows (of training and validation together, T of testing), X columns of the input: the elemental
fractions, and behind them the physical attributes where they are wanted; H columns of features.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from xtlray.chem.formula import Compositions, composition_keys
from xtlray.chem.fractions import ELEMNET_ELEMENTS
from xtlray.data.dataset import Dataset
from xtlray.data.inputs import InputEncoder
from xtlray.errors import WorkError
from xtlray.nn.features import Block, Features, beside
from xtlray.nn.members import FeatureNetMember, HeadMember, LiveMember, NetMember
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.warp import WarpKind

Array = NDArray[np.float64]
FOLDS = 10
_SEED = b"xtlray folds 1"
_REMEMBERED_POOLS, _REMEMBERED_BYTES = 2, 256 << 20  # of features, in each process


@dataclass(frozen=True)
class Pool:
    """The rows of a target that may be trained on, each in one fold; all rows of a composition are in the same.

    Fold 0 is the validation side of the dataset's split; the others divide its training side.

    Attributes:
        target: the dataset's name.
        data_hash: of the dataset.
        split_id: of its split.
        x_BX: inputs, float32.
        y_B: targets in the property's unit.
        fold_B: uint8.
        x_test_TX: inputs of the test rows. Their values are nowhere in here.
        skipped: rows, per split, with an element that the encoder cannot hold.
        fractions: how many columns of the input are elemental fractions.
    """

    target: str
    data_hash: str
    split_id: str
    x_BX: NDArray[np.float32]
    y_B: Array
    fold_B: NDArray[np.uint8]
    x_test_TX: NDArray[np.float32]
    skipped: dict[str, int] = field(default_factory=dict)
    fractions: int = len(ELEMNET_ELEMENTS)

    @cached_property
    def folds(self) -> int:
        """How many there are: ten, or fewer where there are fewer compositions."""
        return int(self.fold_B.max()) + 1

    @cached_property
    def tasks(self) -> dict[int, Task]:
        """What trials fit, by the fold that is held out."""
        return {fold: Task(self, fold) for fold in range(self.folds)}

    @cached_property
    def composition_B(self) -> NDArray[np.int64]:
        """A number from 0 for each row, the same for rows of the same composition."""
        _, groups = np.unique(np.round(self.x_BX[:, : self.fractions], 5), axis=0, return_inverse=True)
        return groups.reshape(-1)

    def task(self, seed: int) -> Task:
        """The task of a seed: seeds go round the folds."""
        return self.tasks[seed % self.folds]


class Task:
    """A target with one fold held out: inputs float32 B × X, targets float64 B in the property's unit."""

    def __init__(self, pool: Pool, fold: int) -> None:
        self.pool, self.fold = pool, fold
        self.train_B = np.flatnonzero(pool.fold_B != fold)
        self.val_B = np.flatnonzero(pool.fold_B == fold)

    @property
    def fractions(self) -> int:
        return self.pool.fractions

    @property
    def x_train_BX(self) -> NDArray[np.float32]:
        return self.pool.x_BX[self.train_B]

    @property
    def x_val_BX(self) -> NDArray[np.float32]:
        return self.pool.x_BX[self.val_B]

    @property
    def y_train_B(self) -> Array:
        return self.pool.y_B[self.train_B]

    @property
    def y_val_B(self) -> Array:
        return self.pool.y_B[self.val_B]

    def scaler(self, warp: WarpKind | None = None) -> TargetScaler:
        """Fitted on the training rows."""
        return TargetScaler.fit_warped(warp, self.y_train_B)

    def columns(self, features: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of the training and of the held-out rows, B × H."""
        parts = [_columns(self.pool, features, block)[0] for block in features.blocks]
        return beside([part[self.train_B] for part in parts]), beside([part[self.val_B] for part in parts])

    def answers(self, member: LiveMember) -> Array:
        """What a member says of the held-out rows."""
        if not isinstance(member, HeadMember | FeatureNetMember):
            return member.predict(self.x_val_BX)
        parts = [_columns(self.pool, member.features, block)[0][self.val_B] for block in member.features.blocks]
        return member.answer(beside(parts))

    def test_answers(self, member: LiveMember) -> Array:
        """What a member says of the test rows."""
        if not isinstance(member, HeadMember | FeatureNetMember):
            return member.predict(self.pool.x_test_TX)
        return member.answer(beside([_columns(self.pool, member.features, b)[1] for b in member.features.blocks]))

    def part(self, rows: int, seed: int) -> Task:
        """The same task with at most so many training rows, drawn by the seed."""
        smaller = Task(self.pool, self.fold)
        if len(self.train_B) > rows:
            drawn = np.random.default_rng(seed).choice(len(self.train_B), rows, replace=False)
            smaller.train_B = self.train_B[np.sort(drawn)]
        return smaller


_memory: OrderedDict[tuple[object, ...], tuple[Pool, NetMember, NDArray[np.float32]]] = OrderedDict()


def _columns(pool: Pool, features: Features, block: Block) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A block's columns of the pool's rows and of its test rows.

    What sources make of the last two pools is remembered: a source looks at a row once in a process, not in each trial.
    """
    if block.kind in ("fractions", "attributes"):
        return features.columns(block, pool.x_BX), features.columns(block, pool.x_test_TX)
    source = features.sources[block.source]
    key = (id(pool), id(source), block.kind, block.layer)
    if key not in _memory:
        for (kind, layer), found in _look(pool, source, features, block).items():
            # What the key's ids speak of is kept beside it, so that no other object can have them.
            _memory[id(pool), id(source), kind, layer] = (pool, source, found)
        while len(_memory) > 1 and _too_much():
            _memory.popitem(last=False)
    _memory.move_to_end(key)
    found = _memory[key][2]
    return found[: len(pool.y_B)], found[len(pool.y_B) :]


def _look(
    pool: Pool, source: NetMember, features: Features, wanted: Block
) -> dict[tuple[str, int | None], NDArray[np.float32]]:
    """What a source makes of the pool's rows and of its test rows: all of it in one pass, or, of many rows, a block."""
    both = np.concatenate([pool.x_BX, pool.x_test_TX])
    if 4 * len(both) * sum(each.width for each in features.sources) > _REMEMBERED_BYTES:
        return {(wanted.kind, wanted.layer): features.columns(wanted, both)}
    layers, answers = source.look(both)
    found: dict[tuple[str, int | None], NDArray[np.float32]] = {("answers", None): answers.astype(np.float32)}
    return found | {("activations", layer): each for layer, each in enumerate(layers, start=1)}


def _too_much() -> bool:
    pools = {id(pool) for pool, _, _ in _memory.values()}
    return len(pools) > _REMEMBERED_POOLS or sum(h.nbytes for _, _, h in _memory.values()) > _REMEMBERED_BYTES


def make_pool(dataset: Dataset, encoder: InputEncoder) -> Pool:
    """The pool of a dataset. Raises `WorkError` where no row to train on or to validate on can be encoded."""
    x, y, compositions, skipped = {}, {}, {}, {}
    for split in ("train", "val", "test"):
        rows = dataset.rows(split)
        x_BX, kept, skipped[split] = rows.encode(encoder.fractions)
        if not len(x_BX) and split != "test":
            raise WorkError(
                f"The target has no {split} rows that the net's input can hold",
                got=f"{dataset.card.name}: {skipped[split]} rows with other elements",
                allowed="at least one row of the 86 elements of ElemNet",
            )
        x[split] = encoder.widen(x_BX, rows, kept)
        if split != "test":
            y[split], compositions[split] = rows.y_B[kept], rows.compositions.take(kept)
    card = dataset.card
    fold_B = np.concatenate([folds_of(compositions["train"]) + 1, np.zeros(len(y["val"]), int)])
    return Pool(
        card.name,
        card.data_hash,
        card.split_id,
        np.concatenate([x["train"], x["val"]]),
        np.concatenate([y["train"], y["val"]]),
        fold_B.astype(np.uint8),
        x["test"],
        skipped,
        len(encoder.fractions.elements),
    )


def folds_of(compositions: Compositions, folds: int = FOLDS - 1) -> NDArray[np.int64]:
    """A fold from 0 for each row, by its composition alone, none of them empty: fewer where compositions are few.

    Compositions are dealt out in the order of a hash, so that folds differ by one composition at most.
    """
    keys = composition_keys(compositions)
    distinct = sorted(set(keys), key=lambda key: blake2b(key, key=_SEED, digest_size=8).digest())
    dealt = {key: i % min(folds, len(distinct)) for i, key in enumerate(distinct)}
    return np.array([dealt[key] for key in keys], np.int64)
