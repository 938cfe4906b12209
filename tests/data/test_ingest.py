"""From a file to a dataset version: arithmetic of rejections, one hash by every route, ingests that are cut off."""

import csv
import io
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xtlray.data.dataset import open_dataset
from xtlray.data.ingest import About, Provenance, ingest_file, ingest_table
from xtlray.data.splits import Protocol
from xtlray.errors import RequestError
from xtlray.records import DatasetPointer

ELEMENTS = ["Li", "O", "Na", "Si", "Fe", "Cu", "La", "Pb"]
GOOD = [(f"{a}{n}{b}", 0.25 * n - 1) for a in ELEMENTS for b in ELEMENTS if a < b for n in range(1, 6)]  # 140 rows


def csv_file(tmp_path, rows, name="t.csv", header="formula,gap"):
    path = tmp_path / name
    path.write_text("\n".join([header, *(f"{formula},{value}" for formula, value in rows)]) + "\n")
    return path


def table(store, rows, name="user/gap", **changes):
    formulas, values = zip(*rows, strict=True)
    settings = {
        "about": About(unit="eV", label="Band gap"),
        "protocol": Protocol.POOL,
        "provenance": Provenance(origin="a test"),
        **changes,
    }
    return ingest_table(store, name, formulas=formulas, values=values, **settings)


def test_a_small_file(store, tmp_path):
    path = csv_file(tmp_path, [("NaN", 1), ("LiF", 14.5), ("SiO2", 9), ("Si2O4", 8), ("NaCl", 8.5)])
    card = ingest_file(store, path, "user/gap", "eV")
    assert (card.name, card.unit, card.label) == ("user/gap", "eV", "gap")
    assert card.splits == {"train": 2, "val": 2, "test": 1}
    assert (card.rows, card.compositions) == (5, 4)
    assert card.elements == {"Li": 1, "N": 1, "O": 2, "F": 1, "Na": 2, "Si": 2, "Cl": 1}
    assert card.target == pytest.approx({"mean": 8.2, "std": 18.46**0.5, "min": 1, "max": 14.5})
    assert card.split_protocol == "by composition 81/9/10"
    assert card.rows_outside_plausible is None
    assert card.ingest.files[0].name == "t.csv"
    found = open_dataset(store, "user/gap")
    assert found.rows("val").formulas == ["Si2O4", "SiO2"]
    assert found.rows("train").formulas == ["NaCl", "NaN"]
    assert found.rows("test").formulas == ["LiF"]


def test_rows_add_up_and_every_rejected_row_is_written_down(store, tmp_path):
    bad = [("Xx2O", "1"), ("", "1"), ("SiO2", ""), ("SiO2", "abc"), ("SiO2", "nan"), ("SiO2", "-inf"), ("Fe0", "")]
    rows = GOOD[:100] + bad + GOOD[100:]
    path = csv_file(tmp_path, rows)
    with pytest.raises(RequestError, match=r"7 of the 147 rows of user/gap.*--allow-rejected"):
        ingest_file(store, path, "user/gap", "eV")
    assert store.list("datasets") == []

    report = ingest_file(store, path, "user/gap", "eV", allow_rejected=True).ingest
    assert (report.rows_read, report.rows_kept, report.rows_rejected) == (147, 140, 7)
    assert {(r.reason, r.count, tuple(r.first_rows)) for r in report.rejections} == {
        ("formula cannot be parsed", 3, (101, 102, 107)),
        ("target missing", 1, (103,)),
        ("target not a number", 2, (104, 105)),
        ("target infinite", 1, (106,)),
    }
    dataset = open_dataset(store, "user/gap")
    written = store.get(f"{dataset.folder}/{report.rejected_file}").decode()
    lines = list(csv.DictReader(io.StringIO(written)))
    assert [(line["row"], line["formula"], line["target"]) for line in lines] == [
        (str(101 + i), formula, target) for i, (formula, target) in enumerate(bad)
    ]
    assert {line["file"] for line in lines} == {"t.csv"}


def test_one_hash_by_every_route(store, tmp_path):
    formulas, values = zip(*GOOD, strict=True)
    frame = pd.DataFrame({"formula": formulas, "gap": values})
    shuffled = random.Random(0).sample(GOOD, len(GOOD))
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.to_csv(tmp_path / "packed.csv.gz", index=True)
    frame.sample(frac=1, random_state=1).to_parquet(tmp_path / "t.parquet")
    csv_file(tmp_path, [(f" {formula} ", f"{value:.6e}") for formula, value in shuffled], "spaces.csv")
    names = ["plain.csv", "packed.csv.gz", "t.parquet", "spaces.csv"]
    cards = [ingest_file(store, tmp_path / name, "user/gap", "eV", target_column="gap") for name in names]
    in_memory = table(store, [*shuffled, ("Xx", 1.0)])
    assert len({card.data_hash for card in [*cards, in_memory]}) == 1
    assert len({card.split_id for card in [*cards, in_memory]}) == 1
    assert store.numbers("datasets/user/gap/current") == [1, 2, 3, 4, 5]  # the report tells which file was read
    assert open_dataset(store, "user/gap").ingest.rows_rejected == 1
    assert open_dataset(store, "user/gap").card.ingest.rows_rejected == 0


def test_polymorphs_are_kept(store):
    card = table(store, [("SiO2", 9.0), ("SiO2", 8.0), ("SiO2", 9.0), ("NaCl", 8.5)])
    assert card.rows == 4
    assert card.splits == {"train": 1, "val": 3, "test": 0}
    assert card.ingest.notes == ["there are no test rows"]


def test_other_rows_are_a_new_version_beside_the_old_one(store):
    first = table(store, GOOD)
    second = table(store, [*GOOD, ("NaCl", 8.5)])
    assert open_dataset(store, "user/gap").card.data_hash == second.data_hash
    assert open_dataset(store, "user/gap", first.data_hash).card.rows == 140
    assert table(store, GOOD).data_hash == first.data_hash  # and back again
    assert open_dataset(store, "user/gap").card.rows == 140


def test_the_same_ingest_on_another_day_adds_nothing(store):
    for day in ("2026-01-01", "2026-01-02"):
        table(store, GOOD, provenance=Provenance(origin="a test", retrieved=day))
    assert store.numbers("datasets/user/gap/current") == [1]
    table(store, GOOD, provenance=Provenance(origin="another mirror"))
    assert open_dataset(store, "user/gap").ingest.origin == "another mirror"


def test_the_same_rows_in_another_unit_are_refused(store):
    table(store, GOOD)
    with pytest.raises(RequestError, match=r"in another unit.*'meV'.*'eV'"):
        table(store, GOOD, about=About(unit="meV", label="Band gap"))


def test_implausible_values_are_kept_and_counted(store):
    card = table(store, GOOD, about=About(unit="eV", label="Band gap", plausible=(-0.6, 0.25)))
    assert card.rows == 140
    assert card.rows_outside_plausible == 28  # the value -0.75, once for each of 28 pairs


def test_values_at_the_end_of_float64(store):
    card = table(store, [("LiF", 1e308), ("NaCl", -1e308), ("SiO2", 1.5e308)])
    assert card.target == pytest.approx({"mean": 5e307, "std": 1.0801234e308, "min": -1e308, "max": 1.5e308})


def test_a_published_test_file_stays_the_test_split(store, tmp_path):
    train = csv_file(tmp_path, [*GOOD[:100], ("Xx", 1)], "train.csv")
    test = csv_file(tmp_path, [*GOOD[95:140], ("Fe0", 1)], "test.csv")
    card = ingest_file(store, train, "user/gap", "eV", test=test, allow_rejected=True)
    assert card.splits["test"] == 45
    assert card.splits["train"] + card.splits["val"] == 100
    assert card.split_protocol == "published test rows; validation 10 % of the other compositions"
    assert card.ingest.rows_read == 147
    assert [(r.count, r.first_rows) for r in card.ingest.rejections] == [(2, [101, 147])]
    assert any("of the 45 test rows have a composition of the training" in note for note in card.ingest.notes)
    assert [(f.name, f.split, f.rows) for f in card.ingest.files] == [
        ("train.csv", "train", 101),
        ("test.csv", "test", 46),
    ]
    assert sorted(open_dataset(store, "user/gap").rows("test").formulas) == sorted(f for f, _ in GOOD[95:140])


def test_a_test_file_with_other_columns(store, tmp_path):
    train = csv_file(tmp_path, GOOD, "train.csv")
    test = csv_file(tmp_path, GOOD, "test.csv", header="formula,energy")
    with pytest.raises(RequestError, match=r"test\.csv has no column of that name.*'gap'.*'energy'"):
        ingest_file(store, train, "user/gap", "eV", test=test)


@pytest.mark.parametrize(
    ("name", "unit", "message"),
    [
        ("gap", "eV", "SOURCE/PROPERTY"),
        ("oqmd/gap", "eV", "belong to the program"),
        ("user/gap", " ", "unit is empty"),
    ],
)
def test_requests_that_are_refused_before_the_file_is_read(store, name, unit, message):
    with pytest.raises(RequestError, match=message):
        ingest_file(store, "nothing.csv", name, unit, reserved={"oqmd"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("Xx", 1.0), ("Yy", 2.0)], "No row of user/gap can be kept"),
        ([("SiO2", 1.0), ("Si2O4", 2.0)], "too small"),
    ],
)
def test_tables_of_which_nothing_can_be_made(store, rows, message):
    with pytest.raises(RequestError, match=message):
        table(store, rows, allow_rejected=True)
    assert store.list("datasets") == []


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("writes", range(6))
def test_an_ingest_cut_off_is_completed_by_the_next(store, monkeypatch, writes):
    """Three shards, the rejected rows, the card, the pointer: the process ends after `writes` of these."""
    rows = [*GOOD, ("Xx", 1.0)]
    monkeypatch.setattr("xtlray.data.shards.ROWS_PER_PART", 1000)
    create, left = type(store).create, iter(range(writes))

    def dying(self, key, data, **options):
        if next(left, None) is None:
            raise Killed
        return create(self, key, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "create", dying)
        with pytest.raises(Killed):
            table(store, rows)
    assert len(store.list("datasets")) == writes
    with pytest.raises(RequestError, match="no dataset of that name"):
        open_dataset(store, "user/gap")

    card = table(store, rows)
    assert len(store.list("datasets")) == 6
    dataset = open_dataset(store, "user/gap")
    assert dataset.card.data_hash == card.data_hash
    assert sum(len(dataset.rows(split)) for split in ("train", "val", "test")) == 140
    newest = store.newest("datasets/user/gap/current")
    assert newest is not None
    pointer = DatasetPointer.read(newest[1], "pointer")
    assert pointer.ingest == card.ingest


def test_leftovers_of_another_release_are_replaced(store):
    card = table(store, GOOD)
    folder = f"datasets/user/gap/{card.data_hash}"
    good = store.get(f"{folder}/part-00000.parquet")
    store.delete(store.list("datasets"))
    store.create(f"{folder}/part-00000.parquet", b"half a shard")
    table(store, GOOD)
    assert store.get(f"{folder}/part-00000.parquet") == good


def test_parquet_numbers_of_any_kind(store, tmp_path):
    path = tmp_path / "t.parquet"
    formulas = [formula for formula, _ in GOOD]
    pq.write_table(pa.table({"Formula": formulas, "name": ["x"] * 140, "n": pa.array(range(140), pa.int16())}), path)
    assert ingest_file(store, path, "user/n", "1").target["max"] == 139
