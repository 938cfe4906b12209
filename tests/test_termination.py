"""SIGTERM as an interrupt: told from a Ctrl-C, repeated, and taken over by others meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytest

from xtlray import termination
from xtlray.termination import ended_by_sigterm, kept_from_others, terminated


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_an_interrupt_and_known_until_the_command_has_ended() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ended_by_sigterm():
        assert not terminated()
        with pytest.raises(KeyboardInterrupt):
            sigterm()
        assert terminated()
    assert not terminated()
    assert signal.getsignal(signal.SIGTERM) == before


def test_sent_to_a_group_and_to_each_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with ended_by_sigterm():
        with pytest.raises(KeyboardInterrupt):
            sigterm()
        sigterm()
        monkeypatch.setattr(termination, "REPEATED", 0.0)
        with pytest.raises(KeyboardInterrupt):
            sigterm()


def exits(number: int, frame: Any) -> None:
    sys.exit(number)


def test_who_takes_it_over_has_it_no_longer_after() -> None:
    with ended_by_sigterm():
        with kept_from_others():
            signal.signal(signal.SIGTERM, exits)
        with pytest.raises(KeyboardInterrupt):
            sigterm()


def test_one_that_came_meanwhile_counts() -> None:
    def started() -> None:
        with kept_from_others():
            signal.signal(signal.SIGTERM, exits)
            sigterm()

    with ended_by_sigterm():
        with pytest.raises(KeyboardInterrupt):
            started()
        assert terminated()


def test_where_it_is_not_ours_it_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with kept_from_others():
            signal.signal(signal.SIGTERM, exits)
        assert signal.getsignal(signal.SIGTERM) is exits
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_nothing_is_done() -> None:
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with ended_by_sigterm():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
