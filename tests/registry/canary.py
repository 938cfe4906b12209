"""What code in a model's files would do if it were run: it leaves a mark here, and a file."""

from __future__ import annotations

import os
from typing import Any

TOUCHED: list[str] = []
FILE = "XTLRAY_TEST_CANARY"  # the variable that names the file


def touch(*args: Any, **named: Any) -> str:
    """Leave the marks; returns what it was given, so that whoever calls it may go on."""
    TOUCHED.append(repr((args, named)))
    if FILE in os.environ:
        with open(os.environ[FILE], "a") as file:
            file.write("touched\n")
    return str(args)


class Touch:
    """Leaves the marks when it is made, when it is given attributes, and when it predicts."""

    def __new__(cls, *args: Any) -> Touch:
        touch(*args)
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        touch(*args)

    def __setstate__(self, state: Any) -> None:
        touch(state)

    def predict(self, x: Any) -> Any:
        return touch(x)
