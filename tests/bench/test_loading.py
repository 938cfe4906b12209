"""The loading benchmark measures all rows of what it is given and leaves the store as it was."""

import pytest

from xtlray.bench.loading import loading
from xtlray.data.ingest import About, Provenance, ingest_table
from xtlray.data.splits import Protocol
from xtlray.errors import RequestError


def test_loading(store):
    formulas = [f"Li{n}O{m}" for n in range(1, 9) for m in range(1, 9)]
    ingest_table(
        store,
        "user/x",
        formulas=formulas,
        values=range(64),
        about=About(unit="1", label="x"),
        protocol=Protocol.POOL,
        provenance=Provenance(origin="a test"),
    )
    before = store.list("")
    found = loading(store, ["user/x"], repeats=2)
    assert (found["rows"], found["repeats"]) == (64, 2)
    for rate in ("load_rows_per_second", "ingest_rows_per_second"):
        assert 0 < found[rate] <= found[f"{rate}_best"]
    assert store.list("") == before


def test_nothing_to_measure(store):
    with pytest.raises(RequestError, match="0 datasets"):
        loading(store, [])
