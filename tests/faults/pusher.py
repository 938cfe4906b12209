"""A program that pushes models one after another, or deletes them, to be run many times at once, and killed.

`python -m tests.faults.pusher URL FOLDER NAME push|delete WHO COUNT` prints `ready`, waits for a line on stdin, then
prints `name@version` after each push, or deletion, that has returned.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from xtlray.errors import RequestError
from xtlray.registry import model
from xtlray.registry.exchange import push
from xtlray.registry.removal import delete
from xtlray.registry.versions import versions_of
from xtlray.store import Store

assert model  # imported before it is `ready`


def main(url: str, folder: str, name: str, what: str, who: str, count: int) -> None:
    """Push the model in `folder` `count` times, each time with another licence, or delete as many versions."""
    store, chance = Store.open(url), random.Random(who)
    with tempfile.TemporaryDirectory() as scratch:
        mine = Path(shutil.copytree(folder, Path(scratch) / "mine"))
        card = json.loads((mine / "card.json").read_bytes())
        print("ready", flush=True)
        sys.stdin.readline()
        done = 0
        while done < count:
            if what == "push":
                (mine / "card.json").write_text(json.dumps({**card, "licence": f"{who} {done}"}))
                print(push(store, mine, name).ref, flush=True)
                done += 1
                continue
            try:
                found = versions_of(store, name)
                if found:
                    print(delete(store, f"{name}@{chance.choice(found)}").ref, flush=True)
                    done += 1
            except RequestError:  # another one was faster
                continue


if __name__ == "__main__":
    main(*sys.argv[1:6], count=int(sys.argv[6]))
