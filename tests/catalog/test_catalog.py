"""The catalog's tables: complete, physical, and the same as the published ones."""

import csv
import gzip
import json

import pytest

from xtlray import catalog
from xtlray.errors import RequestError, UnknownNameError

REAL = sorted(name for name in catalog.datasets() if not name.startswith("demo/"))

# Units that JARVIS, OQMD and matminer document; what a table prints, so spelled out here and not derived.
UNITS = {
    "oqmd/formation_energy": "eV/atom",
    "oqmd/volume_per_atom": "Å³/atom",
    "oqmd/band_gap": "eV",
    "jarvis/bulkmoduluskv": "GPa",
    "jarvis/etc44": "GPa",
    "jarvis/encut": "eV",
    "jarvis/klu": "Å",
    "jarvis/kaa": "1",
    "jarvis/eps": "1",
    "jarvis/exfoliation_energy": "meV/atom",
    "jarvis/magmom_outcar": "μ_B",
    "jarvis/max_ir_mode": "cm⁻¹",
    "jarvis/nseebeck": "μV/K",
    "jarvis/ppowerfact": "μW/(m·K²)",
    "jarvis/piezo_max_eij": "C/m²",
    "jarvis/slme": "%",
    "experiment/expt_deltae": "eV/atom",
}


def test_it_knows_the_45_real_datasets():
    counts = [sum(name.startswith(f"{source}/") for name in REAL) for source in ("oqmd", "jarvis", "experiment")]
    assert counts == [4, 39, 2]


@pytest.mark.parametrize("name", catalog.datasets())
def test_every_entry_is_complete(name):
    info = catalog.get(name)
    assert info.name == name
    assert info.label
    assert info.source
    assert info.description
    assert info.unit or info.unit_note
    assert info.property == name.partition("/")[2]


@pytest.mark.parametrize("name", REAL)
def test_every_real_entry_can_be_fetched_and_cited(name):
    info = catalog.get(name)
    assert info.licence
    assert "doi:10." in info.citation
    assert info.plausible
    assert info.columns
    sides = [file.split for file in info.files]
    assert sides == (["train", "val", "test"] if name.startswith("oqmd/") else ["train", "test"])
    assert (info.reference is None) == name.startswith("oqmd/")
    assert info.protocol == ("pool" if name.startswith("oqmd/") else "published")


@pytest.mark.parametrize(("name", "unit"), UNITS.items())
def test_units(name, unit):
    assert catalog.get(name).unit == unit


def test_reference_figures():
    reference = catalog.get("jarvis/bulkmoduluskv").reference
    assert (reference.base, reference.best_scratch, reference.best_transfer) == (49.11, 11.83, 11.28)
    assert catalog.get("jarvis/bulkmoduluskv").symbol == "BulkKV"


def test_the_mislabelled_pair_warns():
    assert "mislabelled" in catalog.get("jarvis/pem300k").warning
    assert "mislabelled" in catalog.get("jarvis/nem300k").warning


def test_find_keeps_catalog_order_and_names_each_once():
    assert catalog.find(["jarvis/etc1?", "oqmd/band_gap", "jarvis/etc11"]) == [
        "oqmd/band_gap",
        "jarvis/etc11",
        "jarvis/etc12",
        "jarvis/etc13",
    ]


def test_unknown_names_get_the_nearest():
    with pytest.raises(UnknownNameError, match="jarvis/klu"):
        catalog.get("jarvis/kul")
    with pytest.raises(UnknownNameError, match="There is no dataset of that name"):
        catalog.find(["jarvis/*", "jarvs/*"])
    with pytest.raises(RequestError, match="No dataset was named"):
        catalog.find([])


def test_entries_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        catalog.get("jarvis/klu").unit = "m"
    with pytest.raises(TypeError):
        catalog.datasets()["jarvis/klu"] = None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plausible": (3.0, 1.0)}, "plausible range is empty"),
        ({"unit": None, "unit_note": None}, "unit is not known"),
        ({"name": "No Slash"}, "pattern"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_impossible_entries_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        catalog.DatasetInfo.model_validate({**catalog.get("jarvis/klu").model_dump(), **change})


@pytest.mark.data
def test_published_files_are_carried_over_exactly(real_data):
    published = json.loads((real_data / "sources.json").read_text())
    assert {name: [f.model_dump() for f in catalog.get(name).files] for name in REAL} == published


@pytest.mark.data
def test_reference_figures_are_carried_over_exactly(real_data):
    with (real_data / "gupta2021_reference.csv").open() as lines:
        rows = {row["dataset"]: row for row in csv.DictReader(lines)}
    assert {name for name in REAL if catalog.get(name).reference} == set(rows)
    for name, row in rows.items():
        reference = catalog.get(name).reference
        assert reference.base == float(row["mae_base"])
        assert reference.best_scratch == float(row["mae_best_scratch"])
        assert reference.best_transfer == float(row["mae_best_transfer"])


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in REAL if not name.startswith("oqmd/")])
def test_columns_and_row_counts_are_those_of_the_files(real_data, name):
    info = catalog.get(name)
    assert info.rows[0]
    for side, rows in zip(("train", "test"), info.rows, strict=True):
        path = real_data / f"{name}.{side}.csv.gz"
        if path.exists() and rows is not None:
            with gzip.open(path, "rt") as lines:
                header, *body = csv.reader(lines)
            assert header == ["formula", info.columns[0]]
            assert len(body) == rows
