"""Ray's session, with a module in Ray's place that prints as Ray does: at any time, and while it shuts down."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from xtlray.ray_session import RaySession


def test_what_ray_prints_until_it_is_shut_down_stays_off_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **_: print("started"),
        nodes=lambda: [],
        shutdown=lambda: print("held back"),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    with RaySession() as session:
        with session():
            print("a worker died")
        print("another worker died")
    print("a result")
    said = capsys.readouterr()
    assert said.out == "a result\n"
    assert said.err.splitlines() == ["started", "a worker died", "another worker died", "held back"]


def test_stdout_is_given_back_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), RaySession():
        raise KeyError
    print("a result")
    assert capsys.readouterr().out == "a result\n"
