"""Patience with a store: one clock per outage, bounded waits, said once at the start, now and then, and at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from xtlray import patience
from xtlray.errors import RequestError
from xtlray.patience import FIRST, LONGEST, Gone, Patience, patience_with


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    monkeypatch.setattr(patience, "random", SimpleNamespace(uniform=lambda low, high: (low + high) / 2))
    return clock


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr(logging.getLogger("xtlray"), "propagate", True)  # the command line turns it off
    caplog.set_level(logging.WARNING, "xtlray.store")
    return lambda: [record.getMessage() for record in caplog.records]


def known(seconds: float = 120.0) -> Patience:
    made = Patience("s3://bucket", seconds)
    made.known = True
    return made


def down_until(clock: Clock, end: float) -> Callable[[], str]:
    def call() -> str:
        if clock.now < end:
            raise ConnectionError("refused")
        return "answer"

    return call


def temporary(error: Exception) -> bool:
    return isinstance(error, ConnectionError)


def test_an_outage_is_waited_out_and_said(clock: Clock, said: Callable[[], list[str]]) -> None:
    assert known().outlast(down_until(clock, 1045.0), temporary) == "answer"
    first, second, last = said()
    assert "s3://bucket has been out of reach for 1 s" in first
    assert "ConnectionError: refused" in first
    assert "out of reach for 3" in second
    assert "back after 4" in last
    assert max(clock.pauses) <= LONGEST
    assert clock.now < 1045.0 + LONGEST
    assert 10 < len(clock.pauses) < 40  # backing off, neither hammering nor asleep


def test_a_failure_now_and_then_is_not_said(clock: Clock, said: Callable[[], list[str]]) -> None:
    for _ in range(3):
        assert known().outlast(down_until(clock, clock.now + 0.3), temporary) == "answer"
    assert said() == []


def test_gone_for_good_is_waited_for_once_in_all_calls_together(clock: Clock) -> None:
    one = known(20.0)
    with pytest.raises(Gone) as first:
        one.outlast(down_until(clock, 9e9), temporary)
    assert first.value.seconds == pytest.approx(20.0)
    assert clock.now == pytest.approx(1020.0)
    assert isinstance(first.value.__cause__, ConnectionError)
    for _ in range(5):  # what comes after it fails at once
        with pytest.raises(Gone):
            one.outlast(down_until(clock, 9e9), temporary)
    assert clock.now == pytest.approx(1020.0)
    assert one.outlast(lambda: "answer", temporary) == "answer"
    with pytest.raises(Gone):  # another outage has its own time
        one.outlast(down_until(clock, 9e9), temporary)
    assert clock.now == pytest.approx(1040.0)


def test_a_call_that_always_fails_is_given_up_though_others_get_through(clock: Clock) -> None:
    one = known(20.0)

    def fails() -> None:
        one.outlast(lambda: "answer", temporary)  # of another thread
        raise ConnectionError("refused")

    with pytest.raises(Gone) as told:
        one.outlast(fails, temporary)
    assert told.value.seconds == pytest.approx(20.0)
    assert clock.now == pytest.approx(1020.0)


def test_one_that_never_answered_is_not_waited_for_so_long(clock: Clock) -> None:
    new = Patience("s3://mistyped", 120.0)
    with pytest.raises(Gone):
        new.outlast(down_until(clock, 9e9), temporary)
    assert clock.now == pytest.approx(1000 + FIRST)
    with pytest.raises(KeyError):  # an answer, if not a welcome one
        new.outlast(lambda: {}["no"], temporary)
    with pytest.raises(Gone):
        new.outlast(down_until(clock, 9e9), temporary)
    assert clock.now == pytest.approx(1000 + FIRST + 120)


def test_another_error_is_not_waited_for(clock: Clock) -> None:
    def refuses() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        known().outlast(refuses, temporary)
    assert clock.pauses == []


def test_how_long_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTLRAY_STORE_PATIENCE", "7.5")
    assert patience_with("s3://tests-of-patience/1").seconds == 7.5
    assert patience_with("s3://tests-of-patience/1") is patience_with("s3://tests-of-patience/1")
    monkeypatch.delenv("XTLRAY_STORE_PATIENCE")
    assert patience_with("s3://tests-of-patience/2").seconds == 120


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_what_is_no_time_is_a_wrong_request(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTLRAY_STORE_PATIENCE", text)
    with pytest.raises(RequestError, match="XTLRAY_STORE_PATIENCE"):
        patience_with("s3://tests-of-patience/3")
