"""What all job settings share: frozen pydantic models, unknown keys refused, and errors that name the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from xtlray.errors import RequestError, nearest

ModelT = TypeVar("ModelT", bound=BaseModel)


class Settings(BaseModel):
    """Base of job settings. `RESOURCES` are keys that say where and how fast, never what: they are not in a run id."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, value: Mapping[str, Any], where: str) -> Self:
        """Check a mapping that came from `where` (a file, the command line).

        Raises:
            RequestError: an unknown key (with the nearest known ones), a missing key, an impossible value.
        """
        return parse_model(cls, value, where)

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result, as JSON types: all but the resources."""
        resources = {name for name, field in type(self).model_fields.items() if is_resource(field)}
        return self.model_dump(mode="json", exclude=resources)


def resource(**extra: Any) -> dict[str, Any]:
    """Marks a field, by `json_schema_extra=resource()`, as a resource."""
    return {"resource": True, **extra}


def is_resource(field: Any) -> bool:
    """Whether a pydantic field was marked by `resource`."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("resource"))


def parse_model(model: type[ModelT], value: Mapping[str, Any], where: str) -> ModelT:
    """`model.model_validate` whose errors a user can act on. Raises `RequestError`."""
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise _explain(model, error, where) from error


def _explain(model: type[BaseModel], error: ValidationError, where: str) -> RequestError:
    first = error.errors()[0]
    keys, section, field = _locate(model, first["loc"])
    path = ".".join(keys)
    if first["type"] == "extra_forbidden":
        known = list(section.model_fields)
        close = nearest(keys[-1], known)
        return RequestError(
            f"{where}: there is no key {path!r}",
            got=f"{path}: {first['input']!r}",
            allowed=", ".join(close or known),
            fix="correct the key, or take it out",
        )
    if first["type"] == "missing":
        return RequestError(f"{where}: the key {path!r} is missing", fix=f"add {path}: …")
    return RequestError(
        f"{where}: {path} cannot be that",
        got=repr(first["input"])[:200],
        allowed=first["msg"].removeprefix("Value error, ").removeprefix("Input should be "),
        fix=f"{path} is: {field.description}" if field is not None and field.description else None,
    )


def _locate(model: type[BaseModel], loc: tuple[Any, ...]) -> tuple[list[str], type[BaseModel], Any]:
    """The keys that a user wrote to get to an error, the section that the last one lies in, and its field.

    What pydantic adds behind a field's key (the place in a list, the branch of a union) is left out.
    """
    keys: list[str] = []
    section, field = model, None
    for part in map(str, loc):
        inner = None if field is None else field.annotation
        if field is not None:
            if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                break
            section = inner
        keys.append(part)
        field = section.model_fields.get(part)
        if field is None:
            break
    return keys, section, field
