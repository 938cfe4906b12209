"""Downloads from a server that misbehaves: what comes out is the file, or an error that names what came instead."""

import gzip
import hashlib
import os
import socket
import urllib.request

import pytest

from tests.data.rotten_server import Served, serving
from xtlray.data import download as module
from xtlray.data.download import NotThereError, Patience, cache_folder, download
from xtlray.data.proof import DownloadError, git_blob_id, is_git_blob, is_html, is_intact_gzip

BODY = b"formula,target\nNaCl,1.0\n" + b"SiO2,2.0\n" * 200_000  # 1.8 MB: several reads
BLOB = hashlib.sha1(b"blob %d\0" % len(BODY) + BODY).hexdigest()
QUICK = Patience(attempts=3, timeout_s=5, backoff_s=0.001)
HALF = len(BODY) // 2


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use


def fetch(server, tmp_path, pinned=True, check=None, path="/file.csv"):
    check = check or is_git_blob(BLOB)
    return download(server.url + path, tmp_path / "file.csv", check, pinned=pinned, patience=QUICK)


def left(tmp_path):
    return sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock")


def test_a_git_blob_id_is_the_one_that_git_gives(tmp_path):
    (tmp_path / "x").write_bytes(b"hello\n")
    assert git_blob_id(tmp_path / "x") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def test_a_good_file_comes_once_and_is_not_asked_for_again(tmp_path):
    with serving({"/file.csv": Served(BODY)}) as server:
        for _ in range(2):
            assert fetch(server, tmp_path).read_bytes() == BODY
        assert len(server.requests) == 1
    assert left(tmp_path) == ["file.csv"]


def test_a_cut_connection_goes_on_where_it_stopped(tmp_path):
    with serving({"/file.csv": Served(BODY, faults=["cut"])}) as server:
        assert fetch(server, tmp_path).read_bytes() == BODY
        assert [asked for _, asked in server.requests] == [None, f"bytes={HALF}-"]
    assert left(tmp_path) == ["file.csv"]


def test_a_later_call_goes_on_where_a_killed_one_stopped(tmp_path):
    (tmp_path / "file.csv.part").write_bytes(BODY[:1000])
    with serving({"/file.csv": Served(BODY)}) as server:
        assert fetch(server, tmp_path).read_bytes() == BODY
        assert [asked for _, asked in server.requests] == ["bytes=1000-"]


def test_a_whole_part_is_only_renamed(tmp_path):
    (tmp_path / "file.csv.part").write_bytes(BODY)
    with serving({}) as server:
        assert fetch(server, tmp_path).read_bytes() == BODY
        assert server.requests == []


def test_a_server_without_ranges_starts_again(tmp_path):
    with serving({"/file.csv": Served(BODY, faults=["cut"], ranges=False)}) as server:
        assert fetch(server, tmp_path).read_bytes() == BODY
        assert len(server.requests) == 2


@pytest.mark.parametrize("old", [b"x" * 1000, b"x" * (len(BODY) + 5)], ids=["shorter", "longer"])
def test_pieces_that_do_not_belong_together_are_thrown_away(tmp_path, old):
    (tmp_path / "file.csv.part").write_bytes(old)
    with serving({"/file.csv": Served(BODY)}) as server:
        assert fetch(server, tmp_path).read_bytes() == BODY
        assert server.requests[-1] == ("/file.csv", None)


@pytest.mark.parametrize("faults", [["500", "500"], ["503"], ["429"], ["cut", "502", "cut"]])
def test_passing_trouble_passes(tmp_path, faults):
    with serving({"/file.csv": Served(BODY, faults=list(faults))}) as server:
        assert fetch(server, tmp_path).read_bytes() == BODY
        assert len(server.requests) == len(faults) + 1


@pytest.mark.parametrize(
    ("fault", "message", "requests"),
    [
        ("empty", "empty body", 1),
        ("html", r"web page \(HTML\).*Please log in", 1),
        ("short", "not those of the published file", 1),
        ("403", "refused the file", 1),
        ("500", "answered 500.*3 times in a row", 3),
    ],
)
def test_what_is_not_the_file_is_refused_by_name(tmp_path, fault, message, requests):
    with serving({"/file.csv": Served(BODY, always=fault)}) as server:
        with pytest.raises(DownloadError, match=message):
            fetch(server, tmp_path)
        assert len(server.requests) == requests
    assert left(tmp_path) == []


def test_a_body_that_stays_short_is_refused_by_name(tmp_path):
    with (
        serving({"/file.csv": Served(BODY, always="cut", ranges=False)}) as server,
        pytest.raises(DownloadError, match=f"short: {HALF:,} of {len(BODY):,} bytes"),
    ):
        fetch(server, tmp_path)
    assert left(tmp_path) == ["file.csv.part"]  # for the next try


def test_wrong_bytes_are_refused(tmp_path):
    with serving({"/file.csv": Served(BODY.replace(b"NaCl", b"KCl."))}) as server:
        with pytest.raises(DownloadError, match=f"published file.*{BLOB}"):
            fetch(server, tmp_path)
        assert len(server.requests) == 1
    assert left(tmp_path) == []


def test_wrong_bytes_in_pieces_end_too(tmp_path):
    served = Served(BODY.replace(b"NaCl", b"KCl."), faults=["cut", "", "cut"])
    with serving({"/file.csv": served}) as server, pytest.raises(DownloadError, match="published file"):
        fetch(server, tmp_path)
    assert len(server.requests) == 4


def test_a_file_that_is_not_there_has_its_own_error(tmp_path):
    with serving({}) as server, pytest.raises(NotThereError, match=r"no such file \(404.*file\.csv"):
        fetch(server, tmp_path)


def test_nobody_listening(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(DownloadError, match="could not be reached"):
            download(url, tmp_path / "x", is_git_blob(BLOB), pinned=True, patience=QUICK)


def test_a_spoilt_file_under_the_final_name_is_replaced(tmp_path):
    (tmp_path / "file.csv").write_bytes(b"rot")
    with serving({"/file.csv": Served(BODY)}) as server:
        assert fetch(server, tmp_path).read_bytes() == BODY


def test_an_unpinned_file_comes_again_only_when_it_changed(tmp_path):
    served = Served(gzip.compress(b"one"), modified=1_600_000_000.0)
    with serving({"/file.csv": served}) as server:
        for _ in range(2):
            found = fetch(server, tmp_path, pinned=False, check=is_intact_gzip)
        assert gzip.decompress(found.read_bytes()) == b"one"
        served.body, served.modified = gzip.compress(b"two"), 1_700_000_000.0
        found = fetch(server, tmp_path, pinned=False, check=is_intact_gzip)
        assert gzip.decompress(found.read_bytes()) == b"two"
    assert len(server.requests) == 3


def test_a_broken_gzip_file_is_refused(tmp_path):
    whole = gzip.compress(os.urandom(1000))
    for broken in (whole[:-4], whole[:50] + b"\0\0\0" + whole[53:], b"formula,target\n"):
        with (
            serving({"/file.csv": Served(broken)}) as server,
            pytest.raises(DownloadError, match="not an intact gzip file"),
        ):
            fetch(server, tmp_path, pinned=False, check=is_intact_gzip)


def test_proxies_of_the_environment_are_used(tmp_path, monkeypatch):
    address = "http://mirror.invalid/file.csv"
    with serving({address: Served(BODY)}) as server:  # a proxy is asked for whole addresses
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        found = download(address, tmp_path / "x", is_git_blob(BLOB), pinned=True, patience=QUICK)
        assert found.read_bytes() == BODY


def test_pauses_double_and_end(monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    for failures in (1, 2, 3, 20):
        Patience(backoff_s=0.5).pause(failures)
    assert pauses == [0.5, 1.0, 2.0, 30.0]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot be written.*XTLRAY_CACHE"):
        download("http://127.0.0.1:9/x", tmp_path / "file" / "x", is_git_blob(BLOB), pinned=True)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XTLRAY_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("XTLRAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c" / "xtlray" / "downloads"


@pytest.mark.parametrize(
    ("start", "kind", "html"),
    [
        (b"formula,target\n", "text/plain", False),
        (b"\n  <!DOCTYPE HTML><p>", "", True),
        (b"\xef\xbb\xbf<html>", "", True),
        (b"", "text/html; charset=utf-8", True),
        (gzip.compress(b"x"), "application/gzip", False),
    ],
)
def test_web_pages_are_recognised(start, kind, html):
    assert is_html(start, kind) is html
