"""Divergence: what is refused, what is merely bad, and that the message names where it happened."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from xtlray.training.divergence import DivergedError, refuse_divergence, with_checkpoint

GOOD = [{"epoch": 1, "loss": 0.8, "val": 0.7}, {"epoch": 2, "loss": 0.3, "val": 0.4}]


def refuse(entry: dict[str, Any], history: list[dict[str, Any]] | None = None, net: nn.Module | None = None) -> None:
    refuse_divergence(entry, GOOD if history is None else history, net or nn.Linear(2, 1), epoch=3, lr=0.0125)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["loss", "val"])
def test_an_error_that_is_no_number(key: str, value: float) -> None:
    with pytest.raises(DivergedError, match=r"not a number.*epoch 3, learning rate 0\.0125"):
        refuse({"loss": 0.3, "val": 0.4, key: value})


@pytest.mark.parametrize(("key", "name"), [("loss", "training"), ("val", "validation")])
def test_an_error_that_exploded(key: str, name: str) -> None:
    with pytest.raises(DivergedError, match=rf"exploded.*epoch 3.*{name} error 50 .*spread.*before it 0\.[34]"):
        refuse({"loss": 0.3, "val": 0.4, key: 50.0})


def test_an_explosion_in_the_first_epoch() -> None:
    with pytest.raises(DivergedError, match=r"exploded.*training error 50 .*before it 1"):  # the mean's error
        refuse({"loss": 50.0, "val": 50.0}, history=[])


@pytest.mark.parametrize(
    ("entry", "history"),
    [
        ({"loss": 0.3, "val": 0.4}, GOOD),
        ({"loss": 0.3, "val": None}, GOOD),  # no validation rows
        ({"loss": 5.0, "val": 6.0}, GOOD),  # a bad epoch of a high learning rate: it may come back
        ({"loss": 9.0, "val": 9.5}, []),
        ({"loss": 0.3, "val": 40.0}, []),  # a few validation rows far out: so they are in every epoch
        ({"loss": 0.3, "val": 41.0}, [{"loss": 0.4, "val": 40.0}]),
        ({"loss": 0.01, "val": 0.02}, [{"loss": 0.0001, "val": 0.0001}]),  # a hundred times the best, and still good
    ],
)
def test_what_is_merely_bad_goes_on(entry: dict[str, Any], history: list[dict[str, Any]]) -> None:
    refuse(entry, history)


def test_each_property_is_looked_at() -> None:
    history = [{"loss": 0.5, "val": 0.5, "losses": [0.5, 0.2], "vals": [0.5, None]}]
    refuse({"loss": 0.5, "val": 0.5, "losses": [0.5, 0.2], "vals": [0.5, None]}, history)
    with pytest.raises(DivergedError, match="validation error nan"):
        refuse({"loss": 0.5, "val": 0.5, "losses": [0.5, 0.2], "vals": [0.5, math.nan]}, history)
    with pytest.raises(DivergedError, match=r"training error 30 .*before it 0\.2"):
        refuse({"loss": 0.5, "val": 0.5, "losses": [0.5, 30.0], "vals": [0.5, None]}, history)


def test_a_weight_that_is_no_number() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    refuse({"loss": 0.3, "val": None}, net=net)
    with torch.no_grad():
        net[1].weight[0, 1] = torch.inf
    with pytest.raises(DivergedError, match=r"a weight is not a number.*epoch 3"):
        refuse({"loss": 0.3, "val": None}, net=net)


def test_the_last_good_checkpoint_is_named_and_all_of_it_crosses_processes() -> None:
    with pytest.raises(DivergedError) as told:
        refuse({"loss": math.nan, "val": 0.4})
    error = pickle.loads(pickle.dumps(with_checkpoint(told.value, "runs/r/attempts/1/checkpoints/000000016")))
    assert isinstance(error, DivergedError)
    for part in ("epoch 3", "learning rate 0.0125", "the last good checkpoint: runs/r/attempts/1", "lower lr"):
        assert part in str(error)
