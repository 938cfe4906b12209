"""The seal of a card: its SHA-256, in a file beside it that is written before it.

The card knows the SHA-256 of each file of the model, and its own is here: so no byte of a version is left unchecked.
`card.sha256` is a line as `sha256sum` writes it. A model that was published before there were seals has none.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from xtlray.errors import MissingKeyError, StoreError, StoreGoneError
from xtlray.nn.limits import MOST_CARD_BYTES
from xtlray.store import Store

CARD = "card.json"
SEAL = "card.sha256"
_LONGEST = 200


def seal_of(card: bytes) -> bytes:
    """What `card.sha256` holds."""
    return f"{hashlib.sha256(card).hexdigest()}  {CARD}\n".encode()


def read_card_bytes(store: Store, folder: str) -> tuple[bytes, bool]:
    """The bytes of the card in `folder`, and whether it is sealed.

    Raises:
        MissingKeyError: there is no card.
        StoreError: it, or its seal, is not the one that was published, or far too long.
    """
    with ThreadPoolExecutor(2) as pool:  # an object store answers slowly
        found = pool.submit(_seal, store, f"{folder}/{SEAL}")
        card = read_bounded(store, f"{folder}/{CARD}", MOST_CARD_BYTES)
        seal = found.result()
    if seal is None:  # the card may have come just now, and its seal right before it
        seal = _seal(store, f"{folder}/{SEAL}")
    if seal is not None and seal != seal_of(card):
        raise StoreError(
            "A model's card is not the one that was published",
            got=f"{folder}/{CARD}: its SHA-256 is not that in {SEAL}",
            fix="restore both files, or use another version",
        )
    return card, seal is not None


def _seal(store: Store, key: str) -> bytes | None:
    try:
        return read_bounded(store, key, _LONGEST)
    except MissingKeyError:
        return None


def read_bounded(store: Store, key: str, most: int) -> bytes:
    """The bytes under `key`, of which no more than `most` are ever read.

    Raises:
        MissingKeyError: there are none.
        StoreError: there are more.
    """
    try:
        data = store.get_range(key, 0, most + 1)
    except (MissingKeyError, StoreGoneError):
        raise
    except StoreError:
        if store.size(key):
            raise
        return b""  # of nothing there is no part
    if len(data) > most:
        raise StoreError("A file of a model is longer than it may be", got=key, allowed=f"{most:,} bytes")
    return data
