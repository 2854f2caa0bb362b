# SPDX-License-Identifier: Apache-2.0
"""What is measured: a model and the sites in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfprune.backend.base import Backend
from tfprune.backend.find_sites import Found, find, wrappers
from tfprune.masks.sites import Site


@dataclass(frozen=True)
class Subject:
    """A model, and the sites whose statistics are wanted.

    Attributes:
        model: a built Keras model.
        adapter: of its Keras.
        found: the sites with their variables and layers.
    """

    model: Any
    adapter: Backend
    found: tuple[Found, ...]

    @classmethod
    def of(cls, model: Any, adapter: Backend) -> "Subject":
        """A model with all of its sites."""
        return cls(model, adapter, tuple(find(model, adapter)[0]))

    @property
    def sites(self) -> list[Site]:
        return [item.site for item in self.found]

    @property
    def kernels(self) -> list[Any]:
        """The variables of the sites; of replicas, which hold equal weights, the first's."""
        return [first_copy(self.adapter.raw(item.variable)) for item in self.found]

    @property
    def variables(self) -> list[Any]:
        """All variables of the model's own layers, without the masks of wrappers."""
        held = set()
        for wrapper in wrappers(self.model, self.adapter):
            for _, mask, threshold in wrapper.pruning_vars:
                held |= {id(self.adapter.raw(mask)), id(self.adapter.raw(threshold))}
            held |= {id(self.adapter.raw(one)) for one in getattr(wrapper, "hidden_vars", ())}
        variables = [self.adapter.raw(weight) for weight in self.model.weights]
        return [variable for variable in variables if id(variable) not in held]


def first_copy(variable: Any) -> Any:
    """The first replica's copy of a variable: a tape cannot watch all copies at once."""
    copies = getattr(variable, "values", None)
    return copies[0] if isinstance(copies, tuple) else variable
