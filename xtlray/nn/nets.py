"""The nets by name. A net is one file and one entry here; everything else works with any of them.

A net maps inputs `x_BF` to `y_BP` in scaled units and offers its hidden activations by layer, which is what
transfer learning lives on.

Shape suffixes: B rows, F features, H hidden units, P properties.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from xtlray.errors import RequestError, unknown
from xtlray.nn.deepsets import DeepSets, DeepSetsSettings
from xtlray.nn.elemnet import ElemNet, ElemNetSettings


class Net(Protocol):
    """What every net offers beside being an `nn.Module`."""

    @staticmethod
    def shapes(settings: Any, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of a net with such settings, without building it."""
        ...

    @property
    def n_hidden(self) -> int:
        """Number of hidden layers."""
        ...

    @property
    def last(self) -> nn.Linear:
        """The output layer, which transfer may replace."""
        ...

    def stages(self) -> list[list[nn.Parameter]]:
        """All parameters, layer by layer from the input to the output; the last are the output's."""
        ...

    def keep_outputs(self, rows: Sequence[int]) -> None:
        """Reduce the net to these of its P outputs, in their order, in place; the others' weights are gone."""
        ...

    def renew_outputs(self, outputs: int) -> None:
        """Begin the output layer anew for so many outputs, in place, by torch's global generator."""
        ...

    def activations(self, x_BF: Tensor, layers: Collection[int]) -> dict[int, Tensor]:
        """Activations after each of `layers` (1 … `n_hidden`), shape B × H of that layer."""
        ...

    def answer(self, h_BH: Tensor, x_BF: Tensor) -> Tensor:
        """Scaled predictions from the activations of the last hidden layer and the input, shape B × P."""
        ...


NETS: dict[str, tuple[type[BaseModel], Any]] = {
    "elemnet": (ElemNetSettings, ElemNet),
    "deepsets": (DeepSetsSettings, DeepSets),
}


def resolve_net(spec: str | dict[str, Any]) -> dict[str, Any]:
    """A complete description of a net, defaults filled in: `{"name": "elemnet", "hidden": [...]}`.

    Args:
        spec: a name, or a mapping with `name` and the settings that differ from the net's defaults.

    Raises:
        RequestError: an unknown net, an unknown setting or an impossible value.
    """
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", None)
    if name not in NETS:
        raise unknown("net", str(name), NETS)
    try:
        settings = NETS[name][0].model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            f"A setting of the net {name} is wrong",
            got=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            allowed=", ".join(NETS[name][0].model_fields),
        ) from error
    return {"name": name, **settings.model_dump(mode="json")}


def net_shapes(spec: str | dict[str, Any], inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of the net that `build_net` would make: cheap, however large the net is.

    (torch's meta device, made for this, takes seconds to import.)

    Raises:
        RequestError: as for `resolve_net`.
    """
    settings, net_type = _settings(spec)
    shapes: dict[str, tuple[int, ...]] = net_type.shapes(settings, inputs, outputs)
    return shapes


def build_net(spec: str | dict[str, Any], inputs: int, outputs: int, seed: int) -> Any:
    """A freshly initialised net; the same seed gives the same weights whatever the global generator's state.

    Args:
        spec: as for `resolve_net`.
        inputs: F, the width of the input.
        outputs: P, the number of properties.
        seed: of the initial weights.
    """
    settings, net_type = _settings(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return net_type(settings, inputs, outputs)


def _settings(spec: str | dict[str, Any]) -> tuple[BaseModel, Any]:
    full = resolve_net(spec)
    settings_type, net_type = NETS[full["name"]]
    return settings_type.model_validate({k: v for k, v in full.items() if k != "name"}), net_type


def count_weights(net: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(parameter.numel() for parameter in net.parameters())


def hidden_layers(spec: dict[str, Any]) -> int:
    """Number of hidden layers of the net that `spec` describes."""
    depth: int = build_net(spec, 1, 1, seed=0).n_hidden  # 50 ms; torch's meta device takes seconds to import
    return depth
