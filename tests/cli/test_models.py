"""`xtlray models` promote, pull, push, copy, delete and `store gc`, from the words typed to what is printed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import tiny
from tests.cli.conftest import Said
from xtlray.registry.versions import versions_of
from xtlray.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two versions of the model user/gap."""
    store = Store.open(str(tmp_path / "store"))
    data = tiny.dataset(store)
    for n in (1, 2):
        tiny.model(store, run=f"run-0000000{n}", data=data)
    return store


def test_promoting(xtlray: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    words = ("models", "promote", "--alias", "production", "--json")
    code, out, err = xtlray(*words, "user/gap@1", "--reason", "the first")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "model": "user/gap@1", "alias": "production", "from": None, "protected": False, "moved": True,
    }  # fmt: skip
    code, out, err = xtlray(*words, "user/gap@2", "--protect")
    assert (code, json.loads(out)["from"], json.loads(out)["protected"]) == (0, 1, True)
    assert "user/gap@production means user/gap@2 now, and meant @1 before" in err
    code, out, err = xtlray(*words, "user/gap@2")
    assert (code, json.loads(out)["moved"]) == (0, False)
    assert "means user/gap@2 already: nothing was written" in err
    code, out, err = xtlray(*words, "user/gap@1")
    assert (code, out) == (2, "")
    assert "protected" in err
    assert "--force" in err
    assert xtlray(*words, "user/gap@1", "--force", "--unprotect")[0] == 0
    assert json.loads(xtlray(*words, "user/gap@2")[1])["protected"] is False

    shown = json.loads(xtlray("models", "show", "user/gap@1", "--json")[1])["aliases"]["production"]
    assert [(entry["version"], entry["from"], entry["protected"], entry["who"]) for entry in shown] == [
        (1, None, False, "ada"), (2, 1, True, "ada"), (1, 2, False, "ada"), (2, 1, False, "ada"),
    ]  # fmt: skip
    assert shown[0]["reason"] == "the first"
    table = yaml.safe_load(xtlray("models", "show", "user/gap@1")[1])
    assert [entry["version"] for entry in table["aliases"]["production"]] == [1, 2, 1, 2]
    rows = {row["model"]: row["aliases"] for row in json.loads(xtlray("models", "list", "--json")[1])}
    assert rows["user/gap@1"] == []
    assert rows["user/gap@2"] == ["production"]


def test_there_and_back_again(xtlray: Callable[..., Said], tmp_path: Path) -> None:
    folder, other = tmp_path / "pulled", tmp_path / "other"
    code, out, _ = xtlray("models", "pull", "user/gap@1", folder, "--json")
    assert code == 0
    assert json.loads(out)["files"] == 2
    assert "already" in xtlray("models", "pull", "user/gap@1", folder)[2]
    code, out, err = xtlray("models", "pull", "user/gap@2", folder)
    assert (code, out) == (2, "")
    assert "Something else lies in the way" in err

    code, out, _ = xtlray("models", "push", folder, "user/mine", "--json")
    assert (code, json.loads(out)) == (0, {"model": "user/mine@1", "copied_from": "user/gap@1", "new": True})
    code, out, err = xtlray("models", "push", folder, "--json")
    assert (code, json.loads(out)["model"], json.loads(out)["new"]) == (0, "user/gap@1", False)
    assert "the same is there as user/gap@1: nothing was written" in err

    code, out, _ = xtlray("models", "copy", "user/mine@1", "--to", other, "--name", "gap", "--json")
    assert (code, json.loads(out)) == (0, {"model": "gap@1", "copied_from": "user/mine@1", "new": True})
    code, out, _ = xtlray("predict", "gap@1", "LiO", "--store", other, "--json")
    assert json.loads(out)[0]["value"] == json.loads(xtlray("predict", "user/gap@1", "LiO", "--json")[1])[0]["value"]

    (folder / "extra").write_text("x")
    code, out, err = xtlray("models", "push", folder, "user/mine")
    assert (code, out) == (2, "")
    assert "holds no model that can be pushed" in err


def test_deleting(xtlray: Callable[..., Said], store: Store) -> None:
    xtlray("models", "promote", "user/gap@1", "--alias", "production")
    code, out, err = xtlray("models", "delete", "user/gap@1")
    assert (code, out) == (2, "")
    assert "production" in err
    assert "--force" in err
    code, out, err = xtlray("models", "delete", "user/gap@1", "--force", "--json")
    assert code == 0
    assert json.loads(out) == {
        "deleted": "user/gap@1", "files": 2, "aliases": ["production"], "models": [], "results": [],
    }  # fmt: skip
    assert "aliases that depended on it: production" in err
    assert versions_of(store, "user/gap") == [2]
    code, _, err = xtlray("predict", "user/gap@production", "LiO")
    assert code == 2
    assert "not there any more" in err
    code, _, err = xtlray("models", "delete", "user/gap")
    assert code == 2
    assert "Which version" in err


def test_clearing_away(xtlray: Callable[..., Said], store: Store) -> None:
    key = "models/user/gap/3/weights.safetensors"
    store.create(key, b"x" * 2_000_000)
    code, out, err = xtlray("store", "gc", "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "1 more may be in use: something in them is younger than 24 h" in err
    assert store.local_path
    then = time.time() - 30 * 3600
    os.utime(store.local_path / key, (then, then))
    for words, deleted in ((("--dry-run",), False), (("--older-than", "29"), True)):
        assert store.exists(key)
        code, out, err = xtlray("store", "gc", "--json", *words)
        [row] = json.loads(out)
        assert (code, row["kind"], row["count"], row["mb"], row["deleted"]) == (
            0,
            "unpublished models",
            1,
            2.0,
            deleted,
        )
        assert row["places"] == ["models/user/gap/3"]
        assert ("2.0 MB deleted" if deleted else "2.0 MB would be deleted without --dry-run") in err
    assert not store.exists(key)
    code, out, err = xtlray("store", "gc")
    assert (code, out) == (0, "")
    assert "nothing was left behind" in err
    for hours, said in (("-1", "older-than"), ("nan", "hours"), ("inf", "hours"), ("1e300", "hours"), ("1e9", "hours")):
        code, out, err = xtlray("store", "gc", "--older-than", hours)
        assert (code, out) == (2, "")
        assert said in err
