"""The time by a store's own clock, by which ages of what lies there are told: that of this machine may be wrong."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from xtlray.errors import RequestError, StoreError, StoreGoneError
from xtlray.store import Store
from xtlray.store_check import PREFIX


def now_of(store: Store) -> datetime:
    """The present time as the store would stamp a file with it (UTC); a scratch file is written for it, and removed.

    Of a store that cannot be written to, this machine's time.

    Raises:
        StoreGoneError: the store is out of reach.
    """
    folder = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        store.create(f"{folder}/clock", b"now")
        items = store.listing(folder)
        store.delete_folder(folder)
    except StoreGoneError:
        raise
    except (StoreError, RequestError):
        items = []
    return items[0].modified if items else datetime.now(UTC)
