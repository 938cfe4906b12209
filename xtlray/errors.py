"""Errors that a person can act on: what was wrong, what was got, what is allowed and how to mend it.

Two families, because the command line answers them with two exit codes: `RequestError` (2, the request was
wrong: nothing was done) and `WorkError` (1, the request was fine but the work failed).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XtlrayError(Exception):
    """Base of every error that xtlray raises on purpose.

    Parameters are sentences or fragments; those given are joined into one message, in this order.

    Args:
        what: what was wrong.
        got: the offending value, as the user would recognise it.
        allowed: what would have been accepted.
        fix: the next thing to type or to change.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, got: str | None = None, allowed: str | None = None, fix: str | None = None
    ) -> None:
        self.what, self.got, self.allowed, self.fix = what, got, allowed, fix
        parts = [what.rstrip(".")]
        parts += [f"{label}: {text.rstrip('.')}" for label, text in self._labelled() if text]
        super().__init__(". ".join(parts) + ".")

    def _labelled(self) -> list[tuple[str, str | None]]:
        return [("Got", self.got), ("Allowed", self.allowed), ("To mend it", self.fix)]

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (Ray); the default would call __init__ with the joined message alone.
        return (_rebuild, (type(self), self.what, self.got, self.allowed, self.fix))


def _rebuild(kind: type[XtlrayError], what: str, got: str | None, allowed: str | None, fix: str | None) -> XtlrayError:
    return kind(what, got=got, allowed=allowed, fix=fix)


class RequestError(XtlrayError, ValueError):
    """The request cannot be carried out as it was put (exit code 2)."""

    exit_code = 2


class UnknownNameError(RequestError, LookupError):
    """A dataset, model, method, net or key that nobody knows by that name."""


class WorkError(XtlrayError, RuntimeError):
    """The request was fine, the work failed (exit code 1)."""


class StoreError(WorkError):
    """The object store refused, lost or contradicted something."""


class StoreGoneError(StoreError):
    """The object store is out of reach, and did not come back while it was waited for."""


class MissingKeyError(StoreError, LookupError):
    """Nothing lies in the store under that key."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that look most like `name`, best first (empty where none is close)."""
    known = list(known)
    lowered = {k.lower(): k for k in known}
    close = [lowered[k] for k in difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=0.5)]
    tail = name.lower().rsplit("/", 1)[-1]
    close += [k for k in known if tail and tail in k.lower() and k not in close]
    return close[:count]


def unknown(kind: str, name: str, known: Iterable[str], fix: str | None = None) -> UnknownNameError:
    """An `UnknownNameError` that offers the nearest known names (all of them where there are few).

    Args:
        kind: what was asked for, in the singular ("dataset", "method").
        name: the name that was given.
        known: every name that would have been accepted.
        fix: how to find the right one, if there is a command for it.
    """
    known = sorted(known)
    close = nearest(name, known)
    if close:
        allowed = "nearest known " + ("name is " if len(close) == 1 else "names are ") + ", ".join(close)
    elif 0 < len(known) <= 12:
        allowed = ", ".join(known)
    else:
        allowed = f"{len(known)} known names, none of them close" if known else "there is none yet"
    return UnknownNameError(f"There is no {kind} of that name", got=repr(name), allowed=allowed, fix=fix)
