"""Job files as they are read, and what `--set` changes in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from xtlray.errors import RequestError
from xtlray.kinds.runner import override, read_job

NET = {"name": "elemnet", "hidden": [8, 4]}
PIPELINE: dict[str, Any] = {
    "kind": "pipeline",
    "name": "demo",
    "pretrain": {"dataset": "demo/formation_enthalpy", "net": NET, "epochs": 2, "model": "demo-source"},
    "transfer": {"targets": ["demo/bulk_modulus"], "net": NET},
}

# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "mapping of keys.*list"),
        ("", "mapping of keys.*NoneType"),
        ("kind: [", "not YAML"),
        ("kind: !!python/object:os.system x", "not YAML"),
    ],
)
def test_files_that_are_no_job(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        read_job(path)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo_root: Path) -> None:
    monkeypatch.chdir(repo_root)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(RequestError, match=r"cannot be read.*jobs/demo\.yaml"):
            read_job(path)


# --- --set -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("pretrain.epochs=5", ("pretrain", "epochs"), 5),
        ("transfer.targets=[a/b, c/d*]", ("transfer", "targets"), ["a/b", "c/d*"]),
        ("transfer.seeds=3", ("transfer", "seeds"), 3),
        ("pretrain.net={name: elemnet, hidden: [4]}", ("pretrain", "net"), {"name": "elemnet", "hidden": [4]}),
        ("pretrain.net.hidden=[4]", ("pretrain", "net", "hidden"), [4]),
        ("pretrain.workers=1-4", ("pretrain", "workers"), "1-4"),
        ("name=a=b", ("name",), "a=b"),
        ("pretrain.model=", ("pretrain", "model"), None),
        ("new.section.key=1", ("new", "section", "key"), 1),
    ],
)
def test_set_takes_yaml(text: str, path: tuple[str, ...], expected: Any) -> None:
    value: Any = override(PIPELINE, [text])
    for key in path:
        value = value[key]
    assert value == expected


def test_set_leaves_the_job_as_it_was() -> None:
    before = yaml.safe_dump(PIPELINE)
    override(PIPELINE, ["pretrain.epochs=5", "pretrain.net.hidden=[1]", "transfer.targets=[]"])
    assert yaml.safe_dump(PIPELINE) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "KEY=VALUE"),
        ("=5", "KEY=VALUE"),
        ("pretrain..epochs=5", "KEY=VALUE"),
        ("pretrain.epochs=[1", "not YAML"),
        ("name.first=5", "name is not a section"),
    ],
)
def test_malformed_settings(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        override(PIPELINE, [text])
