"""Waiting for a store that has gone away: bounded, backing off, and said.

All calls of a process share one clock per store. So an outage is waited out once, however many calls meet it: when its
time is over, each further call tries once and fails at once, until one gets through. And no call is tried for longer
than an outage may last, though others get through meanwhile.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from xtlray.errors import RequestError
from xtlray.refusals import in_short

ENVIRONMENT_VARIABLE = "XTLRAY_STORE_PATIENCE"
SECONDS = 120.0
FIRST = 10.0  # for a store that never answered: its URL is more likely wrong than the store gone
SAID_AFTER = 1.0  # a request that fails once in a while is nobody's concern
SAID_EVERY = 30.0
SHORTEST, LONGEST = 0.05, 5.0  # seconds between two tries

T = TypeVar("T")
log = logging.getLogger("xtlray.store")


class Gone(Exception):
    """The store has not come back in time. `seconds`: since the first failure; `__cause__`: the latest one."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"gone for {seconds:.0f} s")


class Patience:
    """How long one store is waited for, and since when it is gone.

    Args:
        name: the store, for messages.
        seconds: how long an outage may last.

    Attributes:
        known: whether the store is known to have answered, to this process or to the one that sent it here.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds, self.known = name, seconds, False
        self._lock = threading.Lock()
        self._since: float | None = None
        self._said: float | None = None

    def outlast(self, call: Callable[[], T], temporary: Callable[[Exception], bool]) -> T:
        """What `call` answers, tried again while it fails with an error that is `temporary`.

        Raises:
            Gone: the store did not come back in time. Any other error of `call` comes through as it is.
        """
        pause, began = SHORTEST, math.inf
        while True:
            try:
                answer = call()
            except Exception as error:
                if not temporary(error):
                    self._is_here()  # it refused: so it is there
                    raise
                began = min(began, time.monotonic())
                lasted, left = self._is_gone(error, began)
                if left <= 0:
                    raise Gone(lasted) from error
            else:
                self._is_here()
                return answer
            time.sleep(min(left, pause * random.uniform(0.5, 1)))
            pause = min(2 * pause, LONGEST)

    def _is_gone(self, error: Exception, began: float) -> tuple[float, float]:
        """Note a failure of a call that has failed since `began`, and say so now and then.

        Returns:
            For how many seconds the store has been gone, for that call at least; how many are left to wait.
        """
        with self._lock:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            lasted = now - min(self._since, began)
            left = (self.seconds if self.known else min(self.seconds, FIRST)) - lasted
            if left > 0 and lasted >= SAID_AFTER and (self._said is None or now - self._said >= SAID_EVERY):
                self._said = now
                log.warning(
                    "the store %s has been out of reach for %.0f s, and is waited for, %.0f s more at most: %s",
                    self.name,
                    lasted,
                    left,
                    in_short(error),
                )
            return lasted, left

    def _is_here(self) -> None:
        self.known = True
        if self._since is None:  # nearly always, and then without the lock
            return
        with self._lock:
            if self._said is not None:
                log.warning("the store is back after %.0f s", self._lasted())
            self._since = self._said = None

    def _lasted(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since


_known: dict[str, Patience] = {}


def patience_with(name: str) -> Patience:
    """This process' patience with the store of that URL, `$XTLRAY_STORE_PATIENCE` seconds or else 120.

    Raises:
        RequestError: the variable is no such number.
    """
    if name not in _known:
        _known[name] = Patience(name, _seconds())
    return _known[name]


def _seconds() -> float:
    text = os.environ.get(ENVIRONMENT_VARIABLE, "")
    try:
        seconds = float(text) if text.strip() else SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise RequestError(
            f"{ENVIRONMENT_VARIABLE} is no time to wait for the store",
            got=repr(text),
            allowed="seconds, 0 or more",
            fix=f"unset it ({SECONDS:.0f} s) or set a number",
        )
    return seconds
