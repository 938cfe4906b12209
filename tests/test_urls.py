"""URLs of stores: one spelling each, and none with a secret in it, which no message repeats."""

from __future__ import annotations

from pathlib import Path

import pytest

from xtlray.errors import RequestError
from xtlray.urls import absolute


@pytest.mark.parametrize("url", ["s3://bucket", "s3://my.bucket-1/a/b c/ü", "gs://b_1/x", "az://container/x"])
def test_an_object_store_keeps_its_url_without_the_last_slash(url: str) -> None:
    assert absolute(url) == url
    assert absolute(f"{url}/") == url


def test_a_folder_has_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spelled = {absolute(each) for each in ("a b", "./a b", f"{tmp_path}/x/../a b", (tmp_path / "a b").as_uri())}
    assert spelled == {(tmp_path / "a b").as_uri()}


def test_a_tilde_is_the_home_or_part_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute("~/a") == (tmp_path / "home" / "a").as_uri()
    assert absolute("~$a.csv") == (tmp_path / "~$a.csv").as_uri()


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEY:CANARY@bucket/prefix",
        "s3://KEY:CAN/ARY+CANARY@bucket",
        "s3://KEY:CANARY",
        "s3://CANARY@bucket",
        "s3://bucket/prefix?X-Amz-Security-Token=CANARY",
        "gs://u:CANARY@bucket",
        "az://account:CANARY@container",
        "https://user:CANARY@host/bucket",
        "https://host/bucket?sig=CANARY",
        "minio://KEY:CANARY@host",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(RequestError, match="AWS_SECRET_ACCESS_KEY") as told:
        absolute(url)
    assert "CANARY" not in str(told.value)
    assert "KEY:" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://-x", "names no bucket"),
        ("s3://b\n/x", "names no bucket"),
        ("s3://b//x", "odd prefix"),
        ("s3://b/a/../c", "odd prefix"),
        ("s3://b/./c", "odd prefix"),
        ("s3://b/a%2Fb", "odd prefix"),
        ("s3://b/a#b", "odd prefix"),
        ("s3://b/a\\b", "odd prefix"),
        ("s3://b/a\nb", "odd prefix"),
        ("S3://b/x", "scheme that is not supported"),
        ("ftp://b/x", "scheme that is not supported"),
        ("file://b/x", "not absolute"),
    ],
)
def test_what_no_store_can_have_for_a_url(url: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        absolute(url)
