"""Datasets whose making is killed: the next try completes them, and a reader never sees a part of one."""

import random
import time

import pytest

from tests.faults.harness import wait_for
from xtlray.data.dataset import open_dataset
from xtlray.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

METALS = ("Li", "Be", "Na", "Mg", "Al", "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga")
OTHERS = ("O", "S", "Se", "F", "Cl", "N")
ROWS = [f"{a}{i}{b}{j}" for a in METALS for b in OTHERS for i in range(1, 13) for j in range(1, 13)]


def test_an_ingest_killed_anywhere_is_completed_by_the_next(start, tmp_path, store):
    path = tmp_path / "alloys.csv"
    path.write_text("formula,value\n" + "".join(f"{text},{n % 97}\n" for n, text in enumerate([*ROWS, "Xx2O"])))
    ingest = ("data", "ingest", str(path), "--name", "user/alloys", "--unit", "eV")

    began = time.monotonic()
    other = Store.open(str(tmp_path / "undisturbed"))
    undisturbed = start(*ingest, "--store", other.url)
    assert undisturbed.wait() == 0, undisturbed.said
    took = time.monotonic() - began

    chance = random.Random(0)
    for _ in range(5):  # anywhere is meant: so by the clock
        program = start(*ingest)
        time.sleep(took * chance.uniform(0.5, 1.0))
        program.kill_all()
    unfinished = start(*ingest, "--name", "user/other")
    wait_for(lambda: store.list("datasets/user/other"), "the first shard")
    unfinished.kill_all()

    for name in ("user/alloys", "user/other"):
        assert start(*ingest, "--name", name).wait() == 0
        card = open_dataset(store, name).card
        assert card.ingest.rows_read == len(ROWS) + 1 == card.ingest.rows_kept + 1
        assert sum(part.rows for part in card.parts) == card.rows == len(ROWS)
        assert card.data_hash == open_dataset(other, "user/alloys").card.data_hash


@pytest.mark.data
def test_a_fetch_killed_anywhere_is_completed_by_the_next(start, real_data, store):
    fetch = ("data", "fetch", "jarvis/*", "--from", str(real_data))
    chance = random.Random(0)
    for _ in range(4):
        program = start(*fetch)
        wanted = len(store.children("datasets/jarvis")) + chance.randint(1, 8)
        wait_for(lambda: len(store.children("datasets/jarvis")) >= wanted, f"{wanted} datasets")  # noqa: B023
        program.kill_all()
    last = start(*fetch)
    assert last.wait(200) == 0, last.said
    names = [f"jarvis/{name}" for name in store.children("datasets/jarvis")]
    assert len(names) == 39
    for name in names:
        card = open_dataset(store, name).card
        assert card.ingest.rows_read == card.ingest.rows_kept + card.ingest.rows_rejected
        assert sum(part.rows for part in card.parts) == card.rows == card.ingest.rows_kept
