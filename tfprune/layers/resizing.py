# SPDX-License-Identifier: Apache-2.0
"""New settings for layers whose variables change their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Container

from tfprune.layers.base import kind_of, raw
from tfprune.layers.call import KeptChannels
from tfprune.layers.symbolic_tensor import Unsupported


@dataclass(frozen=True, eq=False)
class Resizing:
    """A layer whose copy is smaller.

    Attributes:
        layer: the layer of the given model.
        config: its settings, to be changed.
        kept: which channels stay.
        biases: the ids of the layers that get a bias, for constants folded into it.
    """

    layer: Any
    config: dict[str, Any]
    kept: KeptChannels
    biases: Container[int]

    def put(self, key: str, value: Any) -> None:
        """A new setting in place of one that is there."""
        if key not in self.config:
            raise Unsupported(f"{self.layer.name} has no setting {key!r}")
        self.config[key] = value

    def variable(self, name: str, owner: Any = None) -> Any:
        """The variable that the layer, or a layer inside it, holds under a name."""
        return raw(self.kept.survey.adapter, owner or self.layer, name)

    def size(self, name: str, owner: Any = None) -> tuple[int, ...]:
        """The new shape of a variable."""
        return self.kept.size(self.variable(name, owner))

    def bias(self, key: str = "use_bias", value: Any = True) -> None:
        """Give it a bias if constants are folded into one."""
        if id(self.layer) in self.biases:
            self.put(key, value)

    def outputs(self) -> tuple[int | None, ...]:
        """The new shape of what it makes, the same in every call."""
        calls = self.kept.survey.by_operation.get(id(self.layer), ())
        found = {self.kept.shape(results[0]) for _, results in calls}
        if len(found) != 1:
            raise Unsupported(f"{self.layer.name} would make tensors of different sizes")
        return found.pop()


def resized(resizing: Resizing) -> None:
    """Change the settings of a layer as its new shapes need it.

    Raises:
        Unsupported: they cannot be changed.
    """
    change = kind_of(resizing.layer).resize
    if change is not None:
        change(resizing)


def settings_of(config: dict[str, Any], key: str) -> dict[str, Any]:
    """The settings of a layer in another's; its recorded shapes are forgotten."""
    config[key].pop("build_config", None)
    return config[key]["config"]
