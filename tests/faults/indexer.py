"""A program that publishes and deletes cards and says each, and folds the index often; to be run at once, and killed.

`python -m tests.faults.indexer URL NAME FIRST COUNT` prints `+NAME@n` after each card that was published, `?NAME@n`
before one is deleted and `-NAME@n` after it.
"""

from __future__ import annotations

import random
import sys
from datetime import timedelta

from tests.registry.library import put, remove
from xtlray.registry import compaction, index
from xtlray.store import Store


def main(url: str, name: str, first: int, count: int) -> None:
    """Publish versions `first` … of `name`, and delete about every fifth."""
    compaction.FOLD_AT, compaction.FULL, compaction.LEASE = 7, 40, timedelta(0)
    index.KEPT = timedelta(seconds=1)
    store, dice = Store.open(url), random.Random(f"{name} {first}")
    for version in range(first, first + count):
        put(store, name, version)
        print(f"+{name}@{version}", flush=True)
        if dice.random() < 0.2:
            doomed = dice.randint(first, version)
            print(f"?{name}@{doomed}", flush=True)
            remove(store, name, doomed)
            print(f"-{name}@{doomed}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
