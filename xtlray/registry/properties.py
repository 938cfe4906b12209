"""Which of a model's properties is meant."""

from __future__ import annotations

from collections.abc import Sequence

from xtlray.errors import RequestError, unknown


def column_of(model: str, names: Sequence[str], wanted: str) -> int:
    """The place of a property among those of a model.

    Args:
        model: whose they are, for messages.
        names: of the properties, in the order of the model's outputs.
        wanted: one of them, such as `oqmd/band_gap`, or its last part, where that is one's alone.

    Raises:
        RequestError: there is none of that name, or several.
    """
    if wanted in names:
        return names.index(wanted)
    found = [name for name in names if name.rsplit("/", 1)[-1] == wanted]
    if len(found) > 1:
        raise RequestError("The property could mean several", got=repr(wanted), allowed=", ".join(found))
    if not found:
        raise unknown(f"property of {model}", wanted, names)
    return names.index(found[0])
