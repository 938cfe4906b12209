"""Put a published model into the package, so that nobody needs hours of a big database to start.

For developers: `python -m xtlray.registry.builtin oqmd-best@1 oqmd --store URL` writes the next version of
`builtin/oqmd` under `xtlray/builtin/models/`; commit what it wrote. The card stays that of the model, which says from
which rows, job and commit it comes; only its name and version are new, and `copied_from` says whose it was.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from xtlray.errors import RequestError
from xtlray.names import check_model_name
from xtlray.registry.model import read_files
from xtlray.registry.seal import CARD, SEAL, seal_of
from xtlray.registry.versions import ModelRef, resolve
from xtlray.store import Store, canonical_json

MOST_BYTES = 10_000_000


def into_package(ref: ModelRef, name: str, package: Store) -> ModelRef:
    """Copy a model into `package` as the next version of `builtin/<name>`.

    Args:
        ref: the model.
        name: without `builtin/`.
        package: the store in the package's folder, opened for writing.

    Raises:
        RequestError: the model is too big for a package.
        StoreError: a file of it is missing or altered.
    """
    card = ref.card()
    files = read_files(ref, card)
    size = sum(map(len, files.values()))
    if size > MOST_BYTES:
        raise RequestError(
            "The model is too big for the package",
            got=f"{ref}: {size / 1e6:.1f} MB",
            allowed=f"{MOST_BYTES / 1e6:.0f} MB",
            fix="train a smaller sibling",
        )
    full = check_model_name(f"builtin/{name}")
    version = max(package.numbers(f"models/{full}"), default=0) + 1
    copied = card.model_copy(update={"name": full, "version": version, "copied_from": str(ref)})
    made = ModelRef(package, full, version)
    content = copied.as_json()
    package.publish(made.folder, {**files, SEAL: seal_of(canonical_json(content))}, CARD, content)
    return made


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("name")
    parser.add_argument("--store")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    package = Store.open(str(Path(__file__).parents[1] / "builtin"))
    made = into_package(resolve(Store.open(given.store), given.model), given.name, package)
    logging.info("%s lies in %s", made, package.url_of(made.folder))


if __name__ == "__main__":
    main()
