"""Loading: the rows of each split into a net's input, elements that it cannot encode counted, damage named."""

import numpy as np
import pytest

from xtlray.chem.fractions import FractionEncoder
from xtlray.data.dataset import known_datasets, open_dataset
from xtlray.data.ingest import About, Provenance, ingest_table
from xtlray.data.splits import Protocol
from xtlray.errors import StoreError, UnknownNameError

ROWS = [("NaCl", 8.5), ("Fe2O3", 2.0), ("HeNe", 1.0), ("BN", 4.5), ("SiO2", 9.0), ("LiF", 14.0), ("NaCl", 8.0)]


@pytest.fixture
def dataset(store):
    formulas, values = zip(*ROWS, strict=True)
    ingest_table(
        store,
        "user/gap",
        formulas=formulas,
        values=values,
        about=About(unit="eV", label="Band gap"),
        protocol=Protocol.POOL,
        provenance=Provenance(origin="a test"),
    )
    return open_dataset(store, "user/gap")


def test_rows_of_a_split(dataset):
    rows = dataset.rows("train")
    assert rows.formulas == ["BN", "Fe2O3", "HeNe", "NaCl", "NaCl"]
    assert rows.y_B.tolist() == [4.5, 2.0, 1.0, 8.0, 8.5]
    assert len(rows) == 5
    assert dataset.rows("test").formulas == ["LiF"]


def test_encoding_counts_what_the_net_cannot_hold(dataset):
    rows = dataset.rows("train")
    encoder = FractionEncoder()
    x_BE, kept, skipped = rows.encode(encoder)
    assert x_BE.shape == (4, 86)
    assert kept.tolist() == [0, 1, 3, 4]
    assert skipped == 1
    assert rows.y_B[kept].tolist() == [4.5, 2.0, 8.0, 8.5]
    np.testing.assert_allclose(x_BE[1, [encoder.elements.index("Fe"), encoder.elements.index("O")]], [0.4, 0.6])
    wider = FractionEncoder((*encoder.elements, "He", "Ne"))
    assert rows.encode(wider)[2] == 0


def test_a_split_without_rows(store):
    ingest_table(
        store,
        "user/two",
        formulas=["NaCl", "BN"],
        values=[1.0, 2.0],
        about=About(unit="eV", label="x"),
        protocol=Protocol.TRAIN_ONLY,
        provenance=Provenance(origin="a test"),
    )
    rows = open_dataset(store, "user/two").rows("test")
    assert (len(rows), rows.formulas) == (0, [])
    assert rows.encode(FractionEncoder())[0].shape == (0, 86)


def test_unknown_names_get_the_nearest_known_ones(store, dataset):
    with pytest.raises(UnknownNameError, match=r"no dataset of that name.*'user/gpa'.*user/gap.*xtlray data fetch"):
        open_dataset(store, "user/gpa")
    with pytest.raises(UnknownNameError, match="no version of user/gap of that name"):
        open_dataset(store, "user/gap", "0" * 64)
    assert "user/gap" in known_datasets(store)


@pytest.mark.parametrize("name", ["", "gap", "../../etc/passwd", "user/../user/gap", "user//gap", "/user/gap", "a b/c"])
def test_what_cannot_be_a_name_is_an_unknown_one(store, name):
    with pytest.raises(UnknownNameError, match="no dataset of that name"):
        open_dataset(store, name)


def test_a_damaged_shard_is_named(store, dataset):
    key = f"{dataset.folder}/{dataset.card.parts[-1].file}"
    store.delete([key])
    with pytest.raises(StoreError, match=f"missing.*{key}"):
        dataset.rows("val")
    store.create(key, b"not the shard")
    with pytest.raises(StoreError, match=f"damaged.*{key}"):
        dataset.rows("val")
    assert len(dataset.rows("train")) == 5


def test_a_damaged_card_is_named(store, dataset):
    key = f"{dataset.folder}/card.json"
    store.delete([key])
    with pytest.raises(StoreError, match=r"card\.json"):
        open_dataset(store, "user/gap")


def test_a_card_that_contradicts_its_shards_is_named(store, dataset):
    key = f"{dataset.folder}/card.json"
    card = store.get_json(key)
    store.delete([key])
    store.create_json(key, {**card, "rows": card["rows"] + 1})
    with pytest.raises(StoreError, match=rf"contradicts itself.*{key}.*8 rows, 7 in its shards"):
        open_dataset(store, "user/gap")
