"""Ports for what the tests of clusters start."""

from __future__ import annotations

import random
import socket


def free_ports(count: int) -> int:
    """The first of that many free ports in a row, below Ray's own and those that the system gives out."""
    while True:
        first = random.randrange(23_000, 30_000, 10)
        held = [socket.socket() for _ in range(count)]
        try:
            for n, each in enumerate(held):
                each.bind(("127.0.0.1", first + n))
        except OSError:
            continue
        finally:
            for each in held:
                each.close()
        return first
