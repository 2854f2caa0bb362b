# SPDX-License-Identifier: Apache-2.0
"""Tensors of a model that are alive together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.channels.model_channels import Survey
from tfprune.layers.base import has
from tfprune.layers.call import LayerCall
from tfprune.layers.symbolic_tensor import SymbolicTensor


@dataclass(frozen=True, eq=False)
class Buffers:
    """The tensors of a model in the order in which they are made.

    Attributes:
        tensors: one for each buffer.
        lives: (first, last) call at which each is needed.
        calls: number of calls.
    """

    tensors: tuple[SymbolicTensor, ...]
    lives: tuple[tuple[int, int], ...]
    calls: int

    @classmethod
    def of(cls, survey: Survey) -> "Buffers":
        """From a walk through a model."""
        history = _simple(survey.tracer.history)
        readers: dict[int, int] = {}
        for step, _ in history:
            for key in {id(one) for one in step.values}:
                readers[key] = readers.get(key, 0) + 1
        places: dict[int, int] = {}
        tensors: list[SymbolicTensor] = []
        lives: list[list[int]] = []

        def needed(value: SymbolicTensor, since: int, at: int) -> None:
            if id(value) not in places:
                places[id(value)] = len(tensors)
                tensors.append(value)
                lives.append([since, at])
            lives[places[id(value)]][1] = at

        for at, (step, results) in enumerate(history):
            for value in step.values:
                needed(value, 0, at)  # what no call has made is there from the beginning
            first = step.values[0] if step.values else None
            for value in results:
                alone = first is not None and readers[id(first)] == 1
                if alone and has(step.operation, "in_place") and id(value) not in places:
                    places[id(value)] = places[id(first)]
                needed(value, at, at)
        return cls(tuple(tensors), tuple((first, last) for first, last in lives), len(history))

    def peak(self, sizes: np.ndarray) -> int:
        """The largest sum of the sizes of buffers that are needed at one call.

        Args:
            sizes: int64, of each buffer.
        """
        changes = np.zeros(self.calls + 1, np.int64)
        for (first, last), size in zip(self.lives, sizes, strict=True):
            changes[first] += size
            changes[last + 1] -= size
        return int(np.cumsum(changes).max(initial=0))


def _simple(
    history: list[tuple[LayerCall, list[SymbolicTensor]]],
) -> list[tuple[LayerCall, list[SymbolicTensor]]]:
    """The calls without those that are made up of earlier ones, such as a nested model's."""
    made: set[int] = set()
    simple = []
    for step, results in history:
        if not results or any(id(one) not in made for one in results):
            simple.append((step, results))
            made.update(id(one) for one in results)
    return simple
