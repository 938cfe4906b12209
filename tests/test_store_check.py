"""`check_store` passes what can be relied on, tells what cannot, says what to set, and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests.fake_s3 import FakeS3
from xtlray import store_check
from xtlray.store import Store
from xtlray.store_check import Finding, check_store

ALL = list(store_check._CHECKS)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_check, "LARGE", 2_000_000)
    monkeypatch.setattr(store_check, "COMMITS", 1)
    monkeypatch.setenv("XTLRAY_STORE_PATIENCE", "0.3")


def failed(store: Store) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_store(store) if not finding.ok}


@pytest.mark.parametrize("kind", ["store", "s3"])
def test_a_good_store_passes_everything_and_is_as_it_was(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(kind)
    store.create("models/a/1/card.json", b"{}")
    findings = list(check_store(store))
    assert [finding.check for finding in findings] == ALL
    assert [finding for finding in findings if not finding.ok or finding.fix] == []
    assert all(finding.seconds >= 0 for finding in findings)
    assert store.list("") == ["models/a/1/card.json"]
    assert store.children("") == ["models"]


def test_a_store_that_ignores_preconditions_is_told_from_one_that_keeps_them(fake_s3: FakeS3, s3: Store) -> None:
    fake_s3.keeps_preconditions = False
    found = failed(s3)
    assert "overwrote the first: the store ignores If-None-Match" in found["create once"].found
    assert "use a store that honours If-None-Match" in (found["create once"].fix or "")
    assert "8 were told" in found["create once, raced"].found
    assert fake_s3.buckets["bucket"] == {}


def test_a_store_that_looks_before_it_writes_fails_the_race_alone(fake_s3: FakeS3, s3: Store) -> None:
    fake_s3.looks_first = 0.02
    found = failed(s3)
    assert {"create once, raced"} <= set(found) <= {"create once, raced", "delta-rs"}
    assert fake_s3.buckets["bucket"] == {}


def test_a_store_whose_listings_come_late(fake_s3: FakeS3, s3: Store) -> None:
    fake_s3.freeze_lists()
    found = failed(s3)
    assert "just written is not listed" in found["list"].found
    assert "strongly consistent" in (found["list"].fix or "")
    assert not [key for key in fake_s3.buckets["bucket"] if "/delta-rs/" not in key]  # what was not listed goes too


def test_a_store_without_ranges(fake_s3: FakeS3, s3: Store) -> None:
    fake_s3.keeps_ranges = False
    found = failed(s3)
    assert "Range" in (found["ranges"].fix or "")
    assert fake_s3.buckets["bucket"] == {}


def test_a_store_that_takes_no_large_request(fake_s3: FakeS3, s3: Store) -> None:
    fake_s3.largest = 1_500_000
    found = failed(s3)
    assert list(found) == ["large upload"]
    assert "413" in found["large upload"].found
    assert fake_s3.buckets["bucket"] == {}


@pytest.mark.parametrize(
    ("answers", "check", "fix"),
    [
        ([(403, "SignatureDoesNotMatch")] * 1000, "reach", "AWS_SECRET_ACCESS_KEY"),
        ([(404, "NoSuchBucket")] * 1000, "reach", "make the bucket"),
        ([503] * 1000, "reach", "reachable"),
    ],
)
def test_where_nothing_can_be_done_nothing_else_is_tried(
    fake_s3: FakeS3, s3: Store, answers: list[int | tuple[int, str]], check: str, fix: str
) -> None:
    fake_s3.answers[:] = answers
    (finding,) = check_store(s3)
    assert (finding.check, finding.ok) == (check, False)
    assert fix in (finding.fix or "")


def test_keys_that_may_only_read(fake_s3: FakeS3, s3: Store) -> None:
    fake_s3.put_refusals[:] = [(403, "AccessDenied")] * 100
    reach, write = check_store(s3)
    assert (reach.ok, write.ok) == (True, False)
    assert "403 AccessDenied" in write.found


def test_keys_that_may_not_delete(fake_s3: FakeS3, s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fake_s3._Handler._post", lambda self, *_: self._error(403, "AccessDenied"))
    *others, last = check_store(s3)
    assert [finding.ok for finding in others] == [True, True]
    assert (last.check, last.ok) == ("clean up", False)
    (left,) = fake_s3.buckets["bucket"]
    assert left.split("/")[1] in (last.fix or "")


def test_an_interrupted_check_cleans_up(fake_s3: FakeS3, s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    get = Store.get

    def interrupted(self: Store, key: str) -> bytes:
        if "ranges" in key or "large" in key:
            assert fake_s3.buckets["bucket"]
            raise KeyboardInterrupt
        return get(self, key)

    monkeypatch.setattr(Store, "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(check_store(s3))
    assert fake_s3.buckets["bucket"] == {}


def test_whoever_stops_listening_leaves_nothing_behind_either(fake_s3: FakeS3, s3: Store) -> None:
    for finding in check_store(s3):
        if finding.check == "create once":
            break
    assert fake_s3.buckets["bucket"] == {}
