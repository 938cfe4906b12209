"""What an outage is and what is none: folders that go away, servers that are down, and puts that nobody answered."""

from __future__ import annotations

import copy
import errno
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from obstore.exceptions import GenericError

from xtlray.backend import _is_temporary
from xtlray.errors import MissingKeyError, RequestError, StoreError, StoreGoneError
from xtlray.store import Store


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTLRAY_STORE_PATIENCE", "0.5")


# --- folders ---------------------------------------------------------------------------------------------------------

USES: dict[str, Callable[[Store], object]] = {
    "get": lambda s: s.get("a/b"),
    "exists": lambda s: s.exists("a/b"),
    "list": lambda s: s.list("a"),
    "children": lambda s: s.children("a"),
    "create": lambda s: s.create("a/c", b"2"),
    "delete": lambda s: s.delete(["a/b"]),
    "claim": lambda s: s.claim("log", "{n}.json", 1),
    "publish": lambda s: s.publish("m/1", {"w": b"1"}, "card.json", {}),
}


def away(folder: Path) -> Path:
    return folder.rename(folder.with_name("away"))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("left", ["nothing", "a bare mount point"])
def test_a_folder_that_went_away_is_gone_not_empty_and_not_made_anew(tmp_path: Path, use: str, left: str) -> None:
    folder = tmp_path / "store"
    store = Store.open(str(folder))
    store.create("a/b", b"1")
    away(folder)
    if left != "nothing":
        folder.mkdir()
    for each in (store, copy.copy(store), Store(store.url)):  # in this process, and as in a worker
        with pytest.raises(StoreGoneError, match=r"out of reach for .*XTLRAY_STORE_PATIENCE"):
            USES[use](each)
    assert folder.exists() == (left != "nothing")
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("use", USES)
def test_a_folder_that_comes_back_is_used_as_if_nothing_had_been(tmp_path: Path, use: str) -> None:
    stores = [Store.open(str(tmp_path / name)) for name in ("calm", "disturbed")]
    for store in stores:
        store.create("a/b", b"1")
    folder = tmp_path / "disturbed"
    away(folder)
    timer = threading.Timer(0.15, (tmp_path / "away").rename, [folder])
    timer.start()
    calm, disturbed = (USES[use](store) for store in stores)
    timer.join()
    assert disturbed == calm
    assert stores[1].list("") == stores[0].list("")


def test_a_new_store_is_made_and_empty(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "new"))
    assert store.list("") == []
    assert store.newest("log") is None
    with pytest.raises(MissingKeyError):
        store.get("a")


def test_a_store_that_is_emptied_is_not_gone(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "new"))
    store.create("a", b"1")
    store.delete(["a"])
    assert store.list("") == []
    assert store.create("a", b"2")
    (tmp_path / "new" / "a").unlink()
    with pytest.raises(StoreGoneError):  # somebody else's doing
        store.list("")


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (FileNotFoundError(errno.ENOENT, "x"), False),
        (GenericError(f"Generic LocalFileSystem error: Unable to open: Stale (os error {errno.ESTALE})\n\nmore"), True),
        (
            GenericError(f"Generic LocalFileSystem error: Unable to put: full (os error {errno.ENOSPC})\n\nmore"),
            False,
        ),
        (ValueError("HTTP error: "), False),
    ],
)
def test_what_a_file_system_says(error: Exception, temporary: bool) -> None:
    assert _is_temporary(error) is temporary


# --- servers ---------------------------------------------------------------------------------------------------------


class Bucket(BaseHTTPRequestHandler):
    """As much of S3 as a put and a get need; `answers` are the codes to give before it behaves, 0 is none at all."""

    kept: dict[str, bytes]
    answers: list[int]
    silent_puts: int

    def _refuses(self) -> bool:
        if not self.answers:
            return False
        code = self.answers.pop(0)
        if code:
            self._say(code)
        else:
            self.close_connection = True
        return True

    def _say(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        for name, value in (("Content-Length", str(len(body))), ("ETag", '"1"')):
            self.send_header(name, value)
        self.send_header("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refuses():
            return
        if self.path in self.kept and self.headers["If-None-Match"] == "*":
            self._say(412)
            return
        self.kept[self.path] = data
        if type(self).silent_puts:
            type(self).silent_puts -= 1
            self.close_connection = True  # written, and the answer lost
        else:
            self._say(200)

    def do_GET(self) -> None:
        if not self._refuses():
            data = self.kept.get(self.path)
            self._say(404 if data is None else 200, data or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    own = type("Own", (Bucket,), {"kept": {}, "answers": [], "silent_puts": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), own)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield own
    server.shutdown()
    server.server_close()


def s3(name: str) -> Store:
    return Store.open(f"s3://{name}/prefix")  # each test another bucket: patience is kept per store


@pytest.mark.parametrize("code", [0, 500, 503, 429])
def test_a_server_that_stumbles_is_asked_again(bucket: type[Bucket], code: int) -> None:
    store = s3(f"stumbles-{code}")
    bucket.answers[:] = [code, code]
    assert store.create("a/b", b"1") is True
    bucket.answers[:] = [code, code]
    assert store.get("a/b") == b"1"


@pytest.mark.parametrize("code", [400, 401, 403, 501])
def test_a_refusal_is_told_at_once(bucket: type[Bucket], code: int) -> None:
    store = s3(f"refuses-{code}")
    bucket.answers[:] = [code]
    with pytest.raises(StoreError) as told:
        store.create("a/b", b"1")
    assert not isinstance(told.value, StoreGoneError)
    assert str(code) in str(told.value)
    assert store.create("a/b", b"1") is True


def test_a_server_that_is_gone_is_told_after_the_time_that_was_set(bucket: type[Bucket]) -> None:
    store = s3("gone")
    store.create("a/b", b"1")
    bucket.answers[:] = [503] * 1000
    began = time.monotonic()
    with pytest.raises(StoreGoneError, match=r"could not read a/b in s3://gone/prefix.*503"):
        store.get("a/b")
    assert 0.4 < time.monotonic() - began < 2


def test_a_put_whose_answer_was_lost_knows_its_own_bytes(bucket: type[Bucket]) -> None:
    store = s3("lost-answer")
    bucket.silent_puts = 1
    assert store.create("claims/1", b"mine") is True
    assert store.create("claims/1", b"mine") is False  # the first try of this call found it there
    bucket.answers[:] = [503]
    assert store.create("claims/1", b"another's") is False  # tried twice, and not its own


def test_a_url_that_cannot_be_opened_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="cannot be opened"):
        Store.open("s3://")
