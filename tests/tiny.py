"""Small things that many tests need: a dataset of a few rows, a net of a few weights, a model made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from xtlray.chem.attributes import COUNT as ATTRIBUTES
from xtlray.chem.formula import Compositions, parse
from xtlray.chem.fractions import ELEMNET_ELEMENTS, FractionEncoder
from xtlray.data.dataset import Dataset, open_dataset
from xtlray.data.ingest import About, Provenance, ingest_table
from xtlray.data.inputs import InputEncoder
from xtlray.data.splits import Protocol
from xtlray.nn.members import LiveMember, NetMember
from xtlray.nn.nets import build_net, resolve_net
from xtlray.nn.packing import pack_members, unpack_members
from xtlray.nn.scaler import TargetScaler
from xtlray.records import ModelCard, SplitMetrics, TrialRecord
from xtlray.registry.cards import Making, card_maker
from xtlray.registry.publishing import publish
from xtlray.registry.versions import ModelRef
from xtlray.runs import Run
from xtlray.store import Store
from xtlray.training.loop import Recipe
from xtlray.transfer.task import Pool, Task
from xtlray.transfer.trial import Sweep

torch.set_num_threads(1)

ENCODER = FractionEncoder(ELEMNET_ELEMENTS)
INPUT = InputEncoder(ENCODER)
NET = resolve_net({"name": "elemnet", "hidden": [8, 4]})
ELEMENTS = ("Li", "O", "Na", "Si", "Fe", "Cu", "La", "Pb")
FORMULAS = tuple(f"{a}{n}{b}" for a in ELEMENTS for b in ELEMENTS if a < b for n in range(1, 4))  # 84 compositions
RECIPE = Recipe(epochs=3, batch=8, lr=1e-2, seed=0, precision="float32")
SWEEP = Sweep("unused", "tiny-00000000", 1, "abc", {"python": "3"})


def inputs(rows: int, seed: int = 0) -> np.ndarray:
    """float32 [rows, 86] like atomic fractions: not negative, each row adds up to one."""
    x_BE = np.random.default_rng(seed).random((rows, len(ELEMNET_ELEMENTS)))
    return (x_BE / x_BE.sum(axis=1, keepdims=True)).astype(np.float32)


def parsed(formulas: Iterable[str]) -> Compositions:
    """Compositions of formulas, all of which can be read."""
    found, reasons = parse(list(formulas))
    assert not reasons
    return found


def wide_inputs(rows: int, seed: int = 0) -> np.ndarray:
    """float32 [rows, 86 + 145]: fractions as `inputs` has them, and numbers in the place of physical attributes."""
    x_BA = np.random.default_rng(seed + 1).normal(10, 3, (rows, ATTRIBUTES))
    return np.concatenate([inputs(rows, seed), x_BA.astype(np.float32)], axis=1)


def net_member(seed: int = 0, mean: float = 3.0, scale: float = 2.0, outputs: int = 1) -> NetMember:
    """An untrained net that answers around `mean`; a second property around 10 times that, and so on."""
    net = build_net(NET, len(ELEMNET_ELEMENTS), outputs, seed).eval()
    tens = [10.0**p for p in range(outputs)]
    return NetMember(NET, net, TargetScaler(tuple(mean * ten for ten in tens), tuple(scale * ten for ten in tens)))


def dataset(
    store: Store,
    name: str = "user/gap",
    formulas: Sequence[str] = FORMULAS,
    values: Sequence[float] | None = None,
    sides: Sequence[str] | None = None,
    unit: str | None = "eV",
) -> Dataset:
    """A dataset in `store`; with `sides` ("train" or "test" per row) its split is a published one."""
    values = [len(text) + 0.1 * i for i, text in enumerate(formulas)] if values is None else values
    ingest_table(
        store,
        name,
        formulas=formulas,
        values=list(values),
        about=About(unit=unit, label="Gap"),
        protocol=Protocol.PUBLISHED if sides else Protocol.POOL,
        provenance=Provenance(origin="a test"),
        sides=sides,
    )
    return open_dataset(store, name)


def pool(rows_train: int = 24, rows_val: int = 8, rows_test: int = 6, target: str = "user/gap") -> Pool:
    """A target that is a linear function of the fractions of two elements: fold 0 comes last, three others before."""
    rows = rows_train + rows_val
    x_BX = wide_inputs(rows)
    y_B = 5 + 100 * x_BX[:, 3].astype(float) - 50 * x_BX[:, 10]
    fold_B = np.where(np.arange(rows) < rows_train, 1 + np.arange(rows) % 3, 0).astype(np.uint8)
    return Pool(target, "d" * 64, "split", x_BX, y_B, fold_B, wide_inputs(rows_test, seed=5), {"train": 0, "val": 0})


def task(rows_train: int = 24, rows_val: int = 8) -> Task:
    """Fold 0 of `pool` held out."""
    return pool(rows_train, rows_val).task(0)


def model(
    store: Store,
    name: str = "user/gap",
    run: str = "tiny-00000000",
    members: Sequence[LiveMember] = (),
    data: Dataset | Sequence[Dataset] | None = None,
    metrics: Mapping[str, SplitMetrics] | None = None,
    source: ModelCard | None = None,
    result: str | None = None,
    exclude: Sequence[Dataset] = (),
    interval: dict[str, float] | None = None,
) -> ModelRef:
    """A published model, by default of two nets; of several datasets, each has an output and 10 times the errors."""
    data = data or dataset(store)
    datasets = [data] if isinstance(data, Dataset) else list(data)
    made = pack_members(members or [net_member(seed, outputs=len(datasets)) for seed in (1, 2)])
    scored = []
    for p, each in enumerate(datasets):
        errors = {"val": SplitMetrics(rows=9, mae=0.5 * 10**p), "test": SplitMetrics(rows=8, mae=0.6 * 10**p)}
        scored.append((each, metrics or errors))
    making = Making(
        name,
        Run(run, {"kind": "pretrain", "name": "tiny"}),
        scored,
        ENCODER,
        made[0],
        "pretrain",
        exclude=exclude,
        sources=[source] if source else [],
        interval=interval,
        files=made[1],
    )
    return publish(store, run, name, result, made[1], card_maker(making))


def load_members(store: Store, records: Sequence[TrialRecord], inputs: int) -> list[LiveMember]:
    """The members that these trials left, ready to predict."""
    members: list[LiveMember] = []
    shared: dict[str, bytes] = {}  # the file of a source is read once
    for record in records:
        assert record.member is not None, "a trial that is kept has a member"
        for key in record.files.values():
            if key not in shared:
                shared[key] = store.get(key)
        files = {name: shared[key] for name, key in record.files.items()}
        members += unpack_members([record.member], files, inputs, f"trial {record.trial}")
    return members
