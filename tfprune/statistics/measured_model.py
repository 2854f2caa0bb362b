# SPDX-License-Identifier: Apache-2.0
"""A model that is measured, and the sites in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfprune.backend.base import Backend
from tfprune.backend.find_sites import Found
from tfprune.backend.model_view import ModelView
from tfprune.masks.sites import Site


@dataclass(frozen=True)
class Subject:
    """A model, and the sites whose statistics are wanted.

    Attributes:
        view: of a built Keras model.
        found: the sites with their variables and layers.
    """

    view: ModelView
    found: tuple[Found, ...]

    @classmethod
    def of(cls, view: ModelView) -> "Subject":
        """A model with all of its sites."""
        return cls(view, view.sites)

    @property
    def model(self) -> Any:
        return self.view.model

    @property
    def adapter(self) -> Backend:
        return self.view.backend

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
        for wrapper in self.view.wrappers:
            for _, mask, threshold in wrapper.pruning_vars:
                held |= {id(self.adapter.raw(mask)), id(self.adapter.raw(threshold))}
            held |= {id(self.adapter.raw(one)) for one in getattr(wrapper, "hidden_vars", ())}
        variables = [self.adapter.raw(weight) for weight in self.model.weights]
        return [variable for variable in variables if id(variable) not in held]


def first_copy(variable: Any) -> Any:
    """The first replica's copy of a variable: a tape cannot watch all copies at once."""
    copies = getattr(variable, "values", None)
    return copies[0] if isinstance(copies, tuple) else variable
