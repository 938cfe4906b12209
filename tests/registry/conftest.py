"""Fixtures that several tests of the library need: data, a model of them and where it is copied to, what is logged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.logs import heard
from xtlray.data.dataset import Dataset
from xtlray.registry.exchange import pull
from xtlray.registry.versions import ModelRef
from xtlray.store import Store


@pytest.fixture
def data(store: Store) -> Dataset:
    return tiny.dataset(store)


@pytest.fixture
def ref(store: Store) -> ModelRef:
    """A model of one net."""
    return tiny.model(store, "jarvis/klu", "run-00000001", [tiny.net_member(1)])


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """Another store, without a model."""
    return Store.open(str(tmp_path / "other"))


@pytest.fixture
def folder(ref: ModelRef, tmp_path: Path) -> Path:
    """A folder that the model was pulled to."""
    return pull(ref, tmp_path / "pulled").folder


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What the library warns of."""
    with heard("xtlray.registry") as found:
        yield found
