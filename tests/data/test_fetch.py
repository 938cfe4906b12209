"""Fetching by name: from a mirror folder, a mirror on the web, and the publishers' own files and layouts."""

import gzip
import hashlib
import time

import pytest

from tests.data.rotten_server import Served, serving
from xtlray import catalog
from xtlray.data.dataset import open_dataset
from xtlray.data.fetch import fetch
from xtlray.data.origins import FolderMirror, Published, WebMirror, open_origin
from xtlray.data.proof import DownloadError
from xtlray.errors import RequestError, UnknownNameError, WorkError

# 40 compositions, so that every side gets some; sodium nitride is a formula, not a missing value.
METALS = ("Li", "Be", "Na", "Mg", "Al", "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga")
FORMULAS = ["NaN", "MgO2", *(f"{metal}O" for metal in METALS), *(f"{metal}2S3" for metal in METALS), "ZnSe", "ZnTe"]
TEST_FORMULAS = ["NaCl", "KCl", "NaN"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XTLRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("XTLRAY_GITHUB_RAW", raising=False)
    return tmp_path / "cache"


def table(column, formulas, first="formula", numbered=False):
    """A CSV; `numbered` as Gupta et al. publish theirs, with an unnamed first column of row numbers."""
    lines = [("," if numbered else "") + f"{first},{column}"]
    lines += [(f"{i}," if numbered else "") + f"{text},{i / 4}" for i, text in enumerate(formulas)]
    return ("\n".join(lines) + "\n").encode()


def mirror(folder, **files):
    for name, body in files.items():
        path = folder / (name.replace("__", "/").replace("_dot_", ".") + ".csv.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(body))
    return folder


def klu(folder):
    return mirror(
        folder,
        jarvis__klu_dot_train=table("kpoint_length_unit", FORMULAS),
        jarvis__klu_dot_test=table("kpoint_length_unit", TEST_FORMULAS),
    )


def test_a_published_split_is_kept(store, tmp_path):
    (card,) = fetch(store, ["jarvis/klu"], klu(tmp_path / "m"))
    assert (card.name, card.unit, card.label) == ("jarvis/klu", "Å", "k-point line density, as a length")
    assert card.ingest.rows_read == card.ingest.rows_kept == 43
    assert card.splits["test"] == 3
    assert card.splits["train"] + card.splits["val"] == 40
    assert card.splits["val"] > 0
    assert sorted(open_dataset(store, "jarvis/klu").rows("test").formulas) == ["KCl", "NaCl", "NaN"]
    assert [(f.name, f.split, f.rows) for f in card.ingest.files] == [
        ("jarvis/klu.train.csv.gz", "train", 40),
        ("jarvis/klu.test.csv.gz", "test", 3),
    ]
    assert "Nat. Commun. 12, 6595" in card.citation
    assert card.ingest.origin == f"the mirror {tmp_path / 'm'}"
    assert "40 of the 25,353 published train rows" in card.ingest.notes
    assert "3 of the 2,818 published test rows" in card.ingest.notes


def test_without_a_test_file_there_are_no_test_rows(store, tmp_path):
    folder = mirror(tmp_path / "m", jarvis__spillage_dot_train=table("spillage", FORMULAS))
    (card,) = fetch(store, ["jarvis/spillage"], folder)
    assert card.splits["test"] == 0
    assert card.splits["train"] > card.splits["val"] > 0
    assert "no published test file here: cut without test rows" in card.ingest.notes


def test_a_pool_is_cut_anew_and_says_where_its_rows_came_from(store, tmp_path):
    folder = mirror(tmp_path / "m", oqmd__band_gap=table("band_gap", FORMULAS))
    (card,) = fetch(store, ["oqmd/band_gap"], str(folder))
    assert sum(card.splits.values()) == 40
    assert min(card.splits.values()) > 0
    assert any("may hold fewer rows than the 3 published ones" in note for note in card.ingest.notes)


def test_values_outside_the_plausible_range_are_kept_and_counted(store, tmp_path):
    body = table("band_gap", FORMULAS).replace(b"NaN,0.0", b"NaN,-1")
    (card,) = fetch(store, ["oqmd/band_gap"], mirror(tmp_path / "m", oqmd__band_gap=body))
    assert card.rows == 40
    assert card.rows_outside_plausible == 1


def test_one_failure_does_not_lose_the_others(store, tmp_path):
    folder = klu(tmp_path / "m")
    mirror(folder, jarvis__kaa_dot_train=table("kpoints_array_average", [f"Xx{i}" for i in range(40)]))
    (folder / "jarvis" / "eps.train.csv.gz").write_bytes(gzip.compress(b"formula,eps\nNaCl,1\n")[:-5])
    told = []
    with pytest.raises(WorkError) as failure:
        fetch(store, ["jarvis/k*", "jarvis/eps", "jarvis/slme"], folder, progress=told.append)
    message = str(failure.value)
    assert "3 of 4 datasets could not be fetched" in message
    assert "jarvis/eps: The file is not an intact gzip file" in message
    assert "jarvis/slme: The mirror lacks a file. Got: jarvis/slme.train.csv.gz" in message
    assert "jarvis/kaa: " in message
    assert open_dataset(store, "jarvis/klu").card.rows == 43
    assert [(f.name, f.done, f.total) for f in told] == [
        ("jarvis/klu", 1, 4),
        ("jarvis/kaa", 2, 4),
        ("jarvis/eps", 3, 4),
        ("jarvis/slme", 4, 4),
    ]


def test_a_single_failure_is_told_as_it_is(store, tmp_path):
    with pytest.raises(DownloadError, match="The mirror lacks a file"):
        fetch(store, ["jarvis/klu"], mirror(tmp_path / "m", oqmd__band_gap=b"x"))


def test_wrong_requests(store, tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="jarvis/klu"):
        fetch(store, ["jarvis/kul"])
    with pytest.raises(RequestError, match=r"no place to fetch datasets from.*nowhere"):
        fetch(store, ["jarvis/klu"], tmp_path / "nowhere")
    packaged = catalog.get("jarvis/klu").model_copy(update={"name": "demo/x", "files": ()})
    monkeypatch.setattr(catalog, "datasets", lambda: {"demo/x": packaged})
    with pytest.raises(RequestError, match=r"nothing to fetch.*demo/x"):
        fetch(store, ["demo/*"])


def test_origins(tmp_path, monkeypatch):
    assert open_origin(None) == Published("https://raw.githubusercontent.com")
    monkeypatch.setenv("XTLRAY_GITHUB_RAW", "https://mirror.example/github")
    assert open_origin(None) == Published("https://mirror.example/github")
    assert open_origin(None, "http://other") == Published("http://other")
    assert open_origin("https://x.example/data/") == WebMirror("https://x.example/data")
    assert open_origin(tmp_path) == open_origin(f"file://{tmp_path}") == FolderMirror(tmp_path)
    with pytest.raises(RequestError, match="ftp://"):
        open_origin("ftp://x.example/data")


def test_a_mirror_on_the_web_gives_the_same_rows_as_its_folder(store, tmp_path):
    folder = klu(tmp_path / "m")
    (local,) = fetch(store, ["jarvis/klu"], folder)
    files = {
        f"/d/jarvis/klu.{side}.csv.gz": Served((folder / f"jarvis/klu.{side}.csv.gz").read_bytes())
        for side in ("train", "test")
    }
    with serving(files) as server:
        (remote,) = fetch(store, ["jarvis/klu"], f"{server.url}/d/")
        assert remote.data_hash == local.data_hash
        assert remote.ingest.origin == f"the mirror {server.url}/d"
        del files["/d/jarvis/klu.test.csv.gz"]
        (without,) = fetch(store, ["jarvis/klu"], f"{server.url}/d")
        assert without.splits["test"] == 0
        with pytest.raises(DownloadError, match="The mirror lacks a file"):
            fetch(store, ["jarvis/eps"], f"{server.url}/d")


def published(monkeypatch, name, bodies):
    """Let the catalog's `name` have files with these bytes; returns what a server must serve."""
    info = catalog.get(name)
    blobs = [hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest() for body in bodies]
    files = tuple(file.model_copy(update={"git_blob": blob}) for file, blob in zip(info.files, blobs, strict=True))
    changed = info.model_copy(update={"files": files})
    monkeypatch.setattr(catalog, "datasets", lambda: {name: changed})
    return {
        f"/{file.repository}/{file.commit}/{file.path}": Served(body) for file, body in zip(files, bodies, strict=True)
    }


@pytest.mark.parametrize(
    ("first", "column"),
    [
        ("formula", "kpoint_length_unit"),
        ("composition", "kpoint_length_unit"),
        ("comp_name", "kpoint_length_unit"),
        ("formula", "KLU"),
        ("composition", "KLU"),
    ],
)
def test_published_files_with_row_numbers(store, monkeypatch, first, column):
    bodies = [table(column, rows, first, numbered=True) for rows in (FORMULAS, TEST_FORMULAS)]
    with serving(published(monkeypatch, "jarvis/klu", bodies)) as server:
        (card,) = fetch(store, ["jarvis/klu"], base_url=server.url)
        assert len(server.requests) == 2
        (again,) = fetch(store, ["jarvis/klu"], base_url=server.url)
        assert len(server.requests) == 2  # proven files are not asked for again
    assert again == card
    assert card.splits["test"] == 3
    assert card.ingest.rows_kept == 43
    assert card.ingest.origin == "published files of https://github.com/NU-CUCIS/CrossPropertyTL at commit 7258427fb5fe"
    assert "published train rows" not in " ".join(card.ingest.notes)


def test_published_parts_of_a_pool_are_joined(store, monkeypatch):
    bodies = [table("target", FORMULAS[:30]), table("target", FORMULAS[30:]), table("target", TEST_FORMULAS[:2])]
    files = published(monkeypatch, "oqmd/volume_per_atom", bodies)
    with serving(files) as server:
        monkeypatch.setenv("XTLRAY_GITHUB_RAW", server.url)
        (card,) = fetch(store, ["oqmd/volume_per_atom"])
    assert sum(card.splits.values()) == card.ingest.rows_read == 42
    assert [file.rows for file in card.ingest.files] == [30, 10, 2]
    assert [file.split for file in card.ingest.files] == [None, None, None]


def test_a_publisher_that_sends_a_login_page(store, monkeypatch, cache):
    files = published(monkeypatch, "jarvis/klu", [b"a", b"b"])
    for served in files.values():
        served.always = "html"
    with serving(files) as server, pytest.raises(DownloadError, match=r"web page \(HTML\)"):
        fetch(store, ["jarvis/klu"], base_url=server.url)
    assert not list(cache.rglob("*.csv"))


@pytest.mark.data
def test_real_rows_add_up(store, real_data):
    started = time.monotonic()
    names = [
        "oqmd/formation_energy",
        "jarvis/bulkmoduluskv",
        "jarvis/meps",
        "jarvis/spillage",
        "experiment/expt_bandgap",
    ]
    cards = {card.name: card for card in fetch(store, names, real_data)}
    assert time.monotonic() - started < 60  # all 45 have 8 times the rows, and 3 minutes
    assert cards["oqmd/formation_energy"].ingest.rows_read == 164_705
    assert cards["jarvis/bulkmoduluskv"].splits["test"] == 1075
    assert cards["jarvis/spillage"].splits["test"] == 0
    assert cards["experiment/expt_bandgap"].ingest.rows_kept == 4920
    # Two formulas that a spreadsheet has turned into dates ("2-Feb"), as published.
    assert cards["jarvis/meps"].ingest.rows_rejected == 2
    for card in cards.values():
        report = card.ingest
        assert report.rows_read == report.rows_kept + report.rows_rejected
        assert report.rows_kept == card.rows == sum(card.splits.values())
