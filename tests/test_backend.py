"""What an outage is and what is none: folders that go away, servers that are down, and puts that nobody answered."""

from __future__ import annotations

import copy
import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError

from tests.fake_s3 import CUT, FakeS3
from xtlray import backend
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
def test_a_folder_that_comes_back_is_used_as_if_nothing_had_been(
    tmp_path: Path, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XTLRAY_STORE_PATIENCE", "60")  # a busy machine may bring it back late
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


@pytest.mark.parametrize("code", [CUT, 408, 429, 500, 502, 503, 504, (400, "RequestTimeout")])
def test_a_server_that_stumbles_is_asked_again(fake_s3: FakeS3, s3: Store, code: int | tuple[int, str]) -> None:
    fake_s3.answers[:] = [code, code]
    assert s3.create("a/b", b"1") is True
    fake_s3.answers[:] = [code, code]
    assert s3.get("a/b") == b"1"
    fake_s3.answers[:] = [code, code]
    assert s3.list("") == ["a/b"]


def test_an_answer_that_breaks_off_is_read_again(fake_s3: FakeS3, s3: Store) -> None:
    data = bytes(range(256)) * 4000
    s3.create("a/b", data)
    fake_s3.half_gets = 2
    assert s3.get("a/b") == data
    fake_s3.half_gets = 1
    assert s3.get_range("a/b", 5, 1000) == data[5:1005]
    fake_s3.half_gets = 1
    assert s3.list("a") == ["a/b"]


@pytest.mark.parametrize(
    ("answer", "what", "fix"),
    [
        ((400, "InvalidArgument"), "could not write a key", "credentials"),
        ((401, ""), "does not accept the keys", "AWS_SECRET_ACCESS_KEY"),
        ((403, "InvalidAccessKeyId"), "does not accept the keys", "AWS_PROFILE"),
        ((403, "SignatureDoesNotMatch"), "does not accept the keys", "AWS_SECRET_ACCESS_KEY"),
        ((400, "ExpiredToken"), "have expired", "log in again"),
        ((403, "RequestTimeTooSkewed"), "clocks", "clock"),
        ((403, "AccessDenied"), "refuses access", "may list, read, write and delete"),
        ((403, ""), "refuses access", "may list, read, write and delete"),
        ((301, "PermanentRedirect"), "another region", "AWS_REGION"),
        ((400, "AuthorizationHeaderMalformed"), "another region", "AWS_REGION"),
        ((404, "NoSuchBucket"), "no such bucket", "AWS_ENDPOINT_URL"),
        ((501, "NotImplemented"), "cannot do what is needed", "If-None-Match"),
        ((507, ""), "no room left", "quota"),
    ],
)
def test_a_refusal_is_told_at_once_in_one_line_with_what_to_do(
    fake_s3: FakeS3, s3: Store, answer: tuple[int, str], what: str, fix: str
) -> None:
    fake_s3.answers[:] = [answer]
    with pytest.raises(StoreError, match=what) as told:
        s3.create("a/b", b"1")
    assert not isinstance(told.value, StoreGoneError)
    assert fix in (told.value.fix or "")
    assert f"a/b in {s3.url} at {fake_s3.url}: " in str(told.value)
    assert len(str(told.value)) < 600
    assert "\n" not in str(told.value)
    assert len(fake_s3.sent("PUT")) == 1
    assert s3.create("a/b", b"1") is True


def test_one_key_of_many_that_may_not_be_deleted(s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server answers 200, and names in it the keys that it has not deleted."""
    root = s3.url.removeprefix("s3://bucket/")

    def refuses_some(self: Any, *_: object) -> None:
        failed = f"<Error><Key>{root}/b</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        self._answer(200, f"<DeleteResult><Deleted><Key>{root}/a</Key></Deleted>{failed}</DeleteResult>".encode())

    monkeypatch.setattr("tests.fake_s3._Handler._post", refuses_some)
    with pytest.raises(StoreError, match=r"refuses access.*could not delete a and 1 more in .*: AccessDenied"):
        s3.delete(["a", "b"])


@pytest.mark.parametrize("use", USES)
def test_a_bucket_that_is_missing_is_said_to_be_whatever_is_asked(fake_s3: FakeS3, use: str) -> None:
    with pytest.raises(StoreError, match="no such bucket"):
        USES[use](Store.open(f"s3://missing/{use}"))


def test_a_name_like_an_error_is_not_taken_for_one(fake_s3: FakeS3, s3: Store) -> None:
    for key in ("NoSuchBucket", "certificate", "InvalidContentType", "HTTP error: builder error"):
        with pytest.raises(MissingKeyError):
            s3.get(key)
        fake_s3.answers[:] = [503]
        assert not s3.exists(key)


def test_a_key_that_is_missing_is_another_matter(fake_s3: FakeS3, s3: Store) -> None:
    assert not s3.exists("a")
    with pytest.raises(MissingKeyError):
        s3.get("a")
    assert len(fake_s3.sent("GET")) == 2  # the bucket was looked for once, where a head had not told
    assert not s3.exists("b")
    assert len(fake_s3.requests) == 4


def test_a_bucket_is_looked_for_in_one_request_however_much_lies_in_it(fake_s3: FakeS3) -> None:
    fake_s3.buckets["bucket"] |= {f"flat-{i}": b"" for i in range(100)}
    fake_s3.page = 10
    assert not Store.open("s3://bucket").exists("none")
    assert [method for method, *_ in fake_s3.requests] == ["HEAD", "GET"]


def test_a_server_that_is_gone_is_told_after_the_time_that_was_set(fake_s3: FakeS3, s3: Store) -> None:
    s3.create("a/b", b"1")
    fake_s3.answers[:] = [503] * 1000
    began = time.monotonic()
    with pytest.raises(StoreGoneError, match=r"could not read a/b in s3://.*503"):
        s3.get("a/b")
    assert 0.4 < time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://127.0.0.1:9", "connection refused"),
        ("http://server.invalid", "no server of that name is known"),
    ],
)
def test_why_a_server_is_not_reached_is_said(
    endpoint: str, why: str, fake_s3: FakeS3, no_aws: pytest.MonkeyPatch
) -> None:
    no_aws.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreGoneError, match=rf"at {endpoint}: .*\({why}\)"):
        Store.open(f"s3://bucket/{why}").get("a")


def test_a_server_without_tls_is_not_waited_for(fake_s3: FakeS3, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_ENDPOINT_URL", fake_s3.url.replace("http", "https"))
    no_aws.setenv("XTLRAY_STORE_PATIENCE", "60")
    with pytest.raises(StoreError, match="does not speak TLS"):
        Store.open("s3://bucket/without-tls").get("a")


def test_a_silent_server_is_given_up(fake_s3: FakeS3, s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_LEAST_ANSWER", 0.1)
    store = Store(s3.url)
    with fake_s3.lock, pytest.raises(StoreGoneError, match="no answer in time"):
        store.get("a")


def test_an_upload_has_time_by_its_size(s3: Store) -> None:
    for size in (1000, 1_000_000, 100_000_000):
        s3._backend._open(size)
    small, large = sorted(s3._backend._opened)
    assert small == 5  # the patience of these tests is short
    assert 100_000_000 / 250_000 <= large <= 2 * 100_000_000 / 250_000


# --- writes that were done although their answer was an error --------------------------------------------------------

DONE_ALL_THE_SAME = [CUT, 500, 503]


@pytest.mark.parametrize("answer", DONE_ALL_THE_SAME)
def test_a_put_that_was_done_all_the_same_knows_its_own_bytes(fake_s3: FakeS3, s3: Store, answer: int) -> None:
    fake_s3.put_answers[:] = [answer]
    assert s3.create("claims/1", b"mine") is True
    assert s3.create("claims/1", b"mine") is False  # the first try of this call found it there
    fake_s3.put_refusals[:] = [503]
    assert s3.create("claims/1", b"another's") is False  # tried twice, and not its own
    assert s3.get("claims/1") == b"mine"


@pytest.mark.parametrize("answer", DONE_ALL_THE_SAME)
def test_a_publication_with_every_answer_lost_is_whole_and_ones_own(fake_s3: FakeS3, s3: Store, answer: int) -> None:
    fake_s3.put_answers[:] = [answer, 200] * 3
    assert s3.publish("m/1", {"a": b"1", "b": b"2"}, "card.json", {"n": 1}) is True
    assert s3.list("") == ["m/1/a", "m/1/b", "m/1/card.json"]
    assert s3.publish("m/1", {"a": b"1", "b": b"2"}, "card.json", {"n": 1}) is False


@pytest.mark.parametrize("answer", DONE_ALL_THE_SAME)
def test_a_claim_that_was_done_all_the_same_is_ones_own(fake_s3: FakeS3, s3: Store, answer: int) -> None:
    fake_s3.put_answers[:] = [answer]
    assert s3.claim("attempts", "{n}/environment.json", {"commit": "c"}) == 1
    assert s3.append("log", {"v": 1}) == 1
    assert s3.list("") == ["attempts/1/environment.json", "log/1.json"]


def test_an_equal_claim_of_another_is_never_taken_for_ones_own(fake_s3: FakeS3, s3: Store) -> None:
    """Two attempts of a job on one machine have equal environments. The second one's first try fails undone."""
    value = {"commit": "c", "versions": {"python": "3"}}
    taken = {"early": False}

    def claim_of_another() -> None:
        taken["early"] = Store(s3.url).claim("attempts", "{n}/environment.json", value) == 1

    children = Store.children

    def late(self: Store, prefix: str) -> list[str]:  # the other comes right after this one has looked
        seen = children(self, prefix)
        if not taken["early"] and threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=claim_of_another)
            thread.start()
            thread.join()
            fake_s3.put_refusals[:] = [503]
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "children", late)
        mine = s3.claim("attempts", "{n}/environment.json", value)
    assert taken["early"]
    assert mine == 2
    first, second = (s3.get_json(f"attempts/{n}/environment.json") for n in (1, 2))
    assert first.pop("nonce") != second.pop("nonce")
    assert first == second == value


def test_a_claim_that_something_on_the_way_sent_twice_is_ones_own(fake_s3: FakeS3, s3: Store) -> None:
    fake_s3.doubled_puts = 1
    assert s3.claim("log", "{n}.json", {"v": 1}) == 1
    assert s3.numbers("log") == [1]


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_race_that_was_not_decided_is_run_again(fake_s3: FakeS3, s3: Store, code: str) -> None:
    fake_s3.put_refusals[:] = [(409, code)]
    assert s3.create("a", b"1") is True
    fake_s3.put_refusals[:] = [(409, "BlobAlreadyExists")]  # of Azure
    assert s3.create("b", b"1") is False


def test_a_url_that_cannot_be_opened_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="cannot be opened"):
        Store.open("s3://")
