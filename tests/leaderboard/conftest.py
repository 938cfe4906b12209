"""What several tests of the tables begin with."""

from __future__ import annotations

import pytest

from tests.leaderboard.runs import RUNS, fill, finish, publish
from xtlray.store import Store


@pytest.fixture
def two_runs(store: Store) -> None:
    """In the test's store, two finished runs of two methods, one of them published."""
    for run in RUNS:
        fill(store, run)
        finish(store, run)
    publish(store, RUNS[0], "base", "user/gap@1")
