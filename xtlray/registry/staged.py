"""Parts of files that a killed writer left in a folder: until a file is whole it has another name, as no listing shows.

Object stores have none: there a file comes at once or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from xtlray.store import Listed, Store

_FOLDERS = ("models", "datasets", "runs", "index", "leaderboard", "reports", "builtin")  # a store's own
_STAGED = re.compile(r".+#\d+")  # how obstore calls a file in a folder until it is whole


def find(store: Store) -> Iterator[Listed]:
    """All of them in a store; none of what lies there beside the store's own folders."""
    root = store.local_path
    tops = [root / top for top in _FOLDERS] if root else []
    for folder, _, names in (each for top in tops for each in os.walk(top)):
        for name in names:
            path = Path(folder) / name
            if not _STAGED.fullmatch(name) or path.is_symlink():
                continue
            with suppress(FileNotFoundError):  # it has got its name just now
                status = path.stat()
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                yield Listed(path.relative_to(root or "").as_posix(), status.st_size, modified)


def remove(store: Store, key: str) -> None:
    """Delete one, by the key under which `find` told of it; one that is gone is fine."""
    root = store.local_path
    assert root is not None, "only a folder has such files"
    (root / key).unlink(missing_ok=True)
