"""`xtlray store check`: a table, JSON, and an exit code; the store is its argument's or the usual one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_s3 import FakeS3
from xtlray import store_check
from xtlray.cli.main import main
from xtlray.store import Store

Said = tuple[int, str, str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_check, "LARGE", 1_000_000)
    monkeypatch.setattr(store_check, "COMMITS", 1)


def test_the_usual_store_is_checked(xtlray: Callable[..., Said], store: Store) -> None:
    code, out, err = xtlray("store", "check", "--json")
    rows = json.loads(out)
    assert code == 0, err
    assert [row["check"] for row in rows] == list(store_check._CHECKS)
    assert all(row["ok"] and row["fix"] is None and row["seconds"] >= 0 and row["found"] for row in rows)
    assert "ok     create once, raced (" in err
    assert store.list("") == []


def test_a_url_names_another(xtlray: Callable[..., Said], s3: Store, fake_s3: FakeS3, tmp_path: Path) -> None:
    fake_s3.keeps_preconditions = False
    code, out, err = xtlray("store", "check", s3.url)
    assert code == 1
    assert f"{s3.url} at {fake_s3.url}" in out
    assert "the store ignores If-None-Match" in out
    assert "FAILED create once" in err
    assert fake_s3.buckets["bucket"] == {}


@pytest.mark.parametrize("words", [["store", "check"], ["models", "list"]])
def test_credentials_in_the_url_are_not_repeated(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--store", "s3://KEY:CANARY@bucket/x", "-v", *words]) == 2
    said = capsys.readouterr()
    assert "CANARY" not in said.out + said.err
    assert "AWS_SECRET_ACCESS_KEY" in said.err


def test_a_secret_in_an_error_that_nobody_foresaw_is_hidden(
    capsys: pytest.CaptureFixture[str], s3: Store, no_aws: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("with secret/key+of/the+fake/server in it")

    no_aws.setattr(Store, "where", property(fails))
    for words in (["store", "check", s3.url], ["-v", "store", "check", s3.url]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert "ZeroDivisionError: with *** in it" in said
        assert "secret/key" not in said
