"""A program that publishes models one after another and says each, to be run many times at once, and killed.

`python -m tests.faults.publisher URL WHO COUNT NAME...` prints `ready`, waits for a line on stdin, then prints
`name@version` after each publish that has returned.
"""

from __future__ import annotations

import random
import sys
import time

from tests import tiny
from xtlray.nn.members import ConstantMember
from xtlray.nn.packing import pack_members
from xtlray.records import ModelCard, SplitMetrics
from xtlray.registry.cards import Making, card_maker
from xtlray.registry.publishing import publish
from xtlray.runs import Run
from xtlray.store import Store


def main(url: str, who: str, count: int, names: list[str]) -> None:
    """Publish `count` models under names drawn from `names`, each by a run of its own."""
    store = Store.open(url)
    scored = [(tiny.dataset(store), {"val": SplitMetrics(rows=9, mae=0.5)})]
    members, files = pack_members([tiny.net_member(len(who)), ConstantMember(3.0)])
    pattern = card_maker(Making(names[0], Run("pattern", {}), scored, tiny.ENCODER, members, "pretrain"))(1, {})
    chance = random.Random(who)
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(count):
        name, run = chance.choice(names), f"{who}-{n}"

        def card(version: int, hashes: dict[str, str], name: str = name, run: str = run) -> ModelCard:
            return pattern.model_copy(update={"name": name, "version": version, "run": run, "files": hashes})

        time.sleep(chance.uniform(0, 1))  # so that a reader sees many states, and not all writers march in step
        print(publish(store, run, name, None, files, card), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
