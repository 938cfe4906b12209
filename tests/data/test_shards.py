"""Shards: canonical order, hashes that do not depend on the route, one split per file, the same bytes each time."""

import hashlib
import io
import math
import random
import re
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xtlray.chem.formula import parse
from xtlray.data import shards
from xtlray.data.shards import KeptRows
from xtlray.errors import StoreError
from xtlray.records import Part

ROWS = [  # side, formula, value: in canonical order
    (2, "C", 5.0),
    (2, "LiF", -1.5),
    (0, "Fe2O3", 0.5),
    (0, "NaCl", -3.0),
    (0, "NaCl", 2.0),
    (0, "NaN", 2.0),
    (1, "SiO2", 8.0),
]


def kept(rows):
    sides, formulas, values = zip(*rows, strict=True)
    return KeptRows.canonical(np.array(sides, np.int8), list(formulas), np.array(values), parse(formulas)[0])


def by_hand(rows):
    names = ["train", "val", "test"]
    text = b"".join(names[s].encode() + b"\0" + f.encode() + b"\0" + struct.pack("<d", v) for s, f, v in rows)
    return hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("seed", range(5))
def test_order_and_hashes_do_not_depend_on_the_input_order(seed):
    shuffled = random.Random(seed).sample(ROWS, len(ROWS))
    rows = kept(shuffled)
    assert rows.split.to_pylist() == ["test", "test", "train", "train", "train", "train", "val"]
    assert rows.formula.to_pylist() == [formula for _, formula, _ in ROWS]
    assert rows.value.tolist() == [value for _, _, value in ROWS]
    assert rows.compositions.elements(2) == ["O", "Fe"]
    assert rows.data_hash() == by_hand(ROWS)
    assert rows.split_id() == by_hand([ROWS[0], ROWS[1], ROWS[6]])[:12]


def test_which_changes_the_hashes_see():
    data_hash, split_id = kept(ROWS).data_hash(), kept(ROWS).split_id()
    other_train = kept([*ROWS[:2], (0, "Fe2O3", 0.5000001), *ROWS[3:]])
    assert other_train.data_hash() != data_hash
    assert other_train.split_id() == split_id
    other_val = kept([*ROWS[:6], (1, "SiO2", 8.5)])
    assert other_val.split_id() != split_id
    other_side = kept([*ROWS[:6], (2, "SiO2", 8.0)])
    assert other_side.split_id() != split_id
    assert kept(ROWS[2:6]).split_id() == hashlib.sha256().hexdigest()[:12]


def test_each_part_holds_one_split_and_no_more_rows_than_allowed(monkeypatch):
    monkeypatch.setattr(shards, "ROWS_PER_PART", 3)
    files, parts = shards.write(kept(ROWS))
    assert [(part.file, part.split, part.rows) for part in parts] == [
        ("part-00000.parquet", "test", 2),
        ("part-00001.parquet", "train", 3),
        ("part-00002.parquet", "train", 1),
        ("part-00003.parquet", "val", 1),
    ]
    assert [hashlib.sha256(files[part.file]).hexdigest() for part in parts] == [part.sha256 for part in parts]
    assert shards.write(kept(ROWS[::-1]))[0] == files


def test_other_programs_can_read_a_shard(tmp_path):
    files, _ = shards.write(kept(ROWS))
    (tmp_path / "p.parquet").write_bytes(files["part-00002.parquet"])
    found = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert found == [
        {
            "split": "val",
            "formula": "SiO2",
            "value": 8.0,
            "z": [8, 14],
            "fraction": [float(np.float32(2 / 3)), float(np.float32(1 / 3))],
        }
    ]


def test_reading_a_shard_back():
    files, parts = shards.write(kept(ROWS))
    value_B, compositions = shards.read(files[parts[1].file], parts[1], "key")
    assert value_B.tolist() == [0.5, -3.0, 2.0, 2.0]
    assert [compositions.elements(i) for i in range(4)] == [["O", "Fe"], ["Na", "Cl"], ["Na", "Cl"], ["N", "Na"]]
    np.testing.assert_allclose(compositions.fraction, [0.6, 0.4] + 6 * [0.5], rtol=1e-6)
    assert shards.read_formulas(files[parts[1].file], parts[1], "key") == ["Fe2O3", "NaCl", "NaCl", "NaN"]


def test_a_damaged_shard_is_named():
    files, parts = shards.write(kept(ROWS))
    with pytest.raises(StoreError, match=r"damaged.*datasets/a/b/part-00000\.parquet"):
        shards.read(files[parts[0].file][:-1] + b"x", parts[0], "datasets/a/b/part-00000.parquet")


# --- files that are no shards, though their SHA-256 is the one in the card ------------------------------------------

GOOD = {
    "split": pa.array(["test", "test"]),
    "formula": pa.array(["C", "LiF"]),
    "value": pa.array([5.0, -1.5]),
    "z": pa.array([[6], [3, 9]], pa.list_(pa.uint8())),
    "fraction": pa.array([[1.0], [0.5, 0.5]], pa.list_(pa.float32())),
}
EMPTY = {name: column.slice(0, 0) for name, column in GOOD.items()}


def written(columns, rows=None):
    """A shard of these columns, and an entry of a card that its hash fits."""
    table, sink = pa.table(columns), io.BytesIO()
    pq.write_table(table, sink)
    return entry(sink.getvalue(), len(table) if rows is None else rows)


def entry(data, rows=2):
    return data, Part(file="p.parquet", split="test", rows=rows, sha256=hashlib.sha256(data).hexdigest())


def without(*names):
    return {name: column for name, column in GOOD.items() if name not in names}


def test_what_the_refusals_start_from_is_good():
    value_B, compositions = shards.read(*written(GOOD), "key")
    assert value_B.tolist() == [5.0, -1.5]
    assert compositions.elements(1) == ["Li", "F"]


CASES = {
    "0 bytes": (entry(b""), "is empty.*0 bytes"),
    "no rows": (written(EMPTY), "is empty.*no rows"),
    "no Parquet": (entry(b"formula,value\nC,5"), "cannot be read as Parquet.*17 bytes"),
    "cut off": (entry(written(GOOD)[0][:-40]), "cannot be read as Parquet"),
    "fewer rows": (written(GOOD, rows=3), "another number of rows.*2 rows, and the card speaks of 3"),
    "a column missing": (written(without("fraction")), "another schema.*fraction is missing"),
    "two columns missing": (written(without("split", "z")), "another schema.*split is missing; z is missing"),
    "a column too many": (written({**GOOD, "weight": pa.array([1, 2])}), "another schema.*weight does not belong"),
    "values as text": (
        written({**GOOD, "value": pa.array(["5.0", "-1.5"])}),
        "another schema.*value is string, not double",
    ),
    "values in float32": (
        written({**GOOD, "value": GOOD["value"].cast(pa.float32())}),
        "another schema.*value is float, not double",
    ),
    "elements as numbers": (
        written({**GOOD, "z": pa.array([[6], [3, 9]])}),
        "another schema.*z is list of int64, not list of uint8",
    ),
    "a null": (written({**GOOD, "value": pa.array([5.0, None])}), "has gaps.*1 in value"),
    "a value that is no number": (written({**GOOD, "value": pa.array([5.0, math.nan])}), "no numbers.*1 of them"),
    "an element without a fraction": (
        written({**GOOD, "fraction": pa.array([[1.0], [1.0]], pa.list_(pa.float32()))}),
        "elements without fractions",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_shard_is_refused_by_name_and_difference(case):
    (data, part), message = CASES[case]
    with pytest.raises(StoreError, match=r"datasets/a/b/p\.parquet") as told:
        shards.read(data, part, "datasets/a/b/p.parquet")
    assert re.search(message, str(told.value)), told.value


def test_a_shard_that_was_cut_off_after_its_card_was_written():
    data, part = written(GOOD)
    for left in (b"", data[:100]):
        with pytest.raises(StoreError, match=rf"damaged.*key: {len(left)} bytes"):
            shards.read(left, part, "key")
        with pytest.raises(StoreError, match="damaged"):
            shards.read_formulas(left, part, "key")
