"""Settings: unknown keys and impossible values are refused by name, at any depth, with the nearest key."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field

from xtlray.errors import RequestError
from xtlray.settings import Settings, is_resource, parse_model, resource


class Inner(Settings):
    epochs: int = Field(gt=0, description="passes over the rows")
    net: str | dict[str, Any] = "elemnet"
    gpus: Literal["auto"] | int = Field("auto", json_schema_extra=resource())


class Outer(Settings):
    train: Inner = Field(description="the section")
    names: tuple[str, ...] = ()
    workers: int = Field(1, json_schema_extra=resource(unit="1"))


GOOD = {"train": {"epochs": 1}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trian": {}}, r"here: there is no key 'trian'.*Got: trian: \{\}.*Allowed: train"),
        ({"train": {"epochs": 1, "epoch": 2}}, "no key 'train.epoch'.*Allowed: epochs"),
        ({"train": {"epochs": 1, "xyz": 2}}, "no key 'train.xyz'.*Allowed: epochs, net, gpus"),
        ({"train": {}}, "the key 'train.epochs' is missing.*add train.epochs"),
        ({"train": {"epochs": 0}}, "train.epochs cannot be that.*Got: 0.*greater than 0.*train.epochs is: passes over"),
        ({"train": {"epochs": 1, "net": 5}}, "train.net cannot be that.*Got: 5"),
        ({"train": {"epochs": 1, "gpus": "all"}}, "train.gpus cannot be that.*Got: 'all'"),
        ({"train": 5}, "train cannot be that.*Got: 5"),
        ({"names": ["a", 5]}, "names cannot be that.*Got: 5"),
        ({"names": {"a": 1}}, "names cannot be that"),
        ({5: "x"}, "here: "),
    ],
)
def test_what_is_wrong_is_named(changes: dict[Any, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Outer.parse({**GOOD, **changes}, "here")


def test_settings_are_frozen() -> None:
    found = Outer.parse(GOOD, "here")
    with pytest.raises(ValueError, match="frozen"):
        found.workers = 2


def test_resources_are_not_in_the_identity() -> None:
    found = Outer.parse({"train": {"epochs": 1, "gpus": 4}, "workers": 3, "names": ["a"]}, "here")
    assert found.train.identity() == {"epochs": 1, "net": "elemnet"}
    assert set(found.identity()) == {"train", "names"}
    assert found.identity()["names"] == ["a"]  # as JSON has it
    assert is_resource(Outer.model_fields["workers"])
    assert not is_resource(Outer.model_fields["train"])


def test_parse_model_takes_any_model() -> None:
    assert parse_model(Inner, {"epochs": 2}, "here").epochs == 2
