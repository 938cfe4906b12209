"""The command line on a store, for all tests of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xtlray.cli.main import main
from xtlray.store import Store

Said = tuple[int, str, str]


@pytest.fixture
def xtlray(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs a command line on that store; returns exit code, stdout and stderr."""
    monkeypatch.setenv("XTLRAY_STORE", str(store.local_path))

    def run(*words: Any) -> Said:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
