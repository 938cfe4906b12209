"""The base of all records that lie in the store as JSON: frozen, versioned, checked when read.

Its fields only ever grow: a reader of a newer schema fills what an older record lacks with defaults, and a record
from the future is refused by name.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from xtlray.errors import StoreError
from xtlray.strict import in_short


class Record(BaseModel):
    """Base of all records: frozen, no unknown keys, a schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    SCHEMA: ClassVar[int] = 1
    schema_version: int = 1

    @classmethod
    def read(cls, value: Any, where: str) -> Self:
        """Check a JSON value that was read from `where` (a key, for the message). Raises `StoreError`."""
        found = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(found, int) and found > cls.SCHEMA:
            raise StoreError(
                f"A {cls.__name__} was written by a newer xtlray",
                got=f"schema version {found} in {where}",
                allowed=f"up to {cls.SCHEMA}",
                fix="upgrade xtlray",
            )
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise StoreError(
                f"A {cls.__name__} in the store is damaged",
                got=f"{where}: {in_short('.'.join(map(str, first['loc'])))}: {in_short(first['msg'])}",
                fix="restore the file, or remove what it belongs to and make it again",
            ) from error

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types (tuples as lists)."""
        return self.model_dump(mode="json")
