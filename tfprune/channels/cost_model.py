# SPDX-License-Identifier: Apache-2.0
"""Costs of a model as a function of how many channels each of its groups has left."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any, Callable, Iterable, Sequence

import numpy as np

from tfprune.backend.find_sites import Found
from tfprune.channels.groups import ChannelGroup
from tfprune.channels.model_channels import Survey
from tfprune.channels.peak_memory import Buffers
from tfprune.layers.base import has
from tfprune.layers.symbolic_tensor import SymbolicTensor
from tfprune.masks.costs import Sizes

FLOAT_BYTES = 4
_FOLDED = ("gamma", "moving_mean", "moving_variance")  # of a BatchNorm, into the kernel before it


class Prices:
    """The costs of a model without some channels, counted without building it.

    Args:
        survey: of the model.

    Attributes:
        groups: those whose channels may go.
        full: int64 [groups], how many channels each has.
    """

    def __init__(self, survey: Survey):
        self.survey = survey
        held = [(group, ids) for group, ids in survey.groups if group.prunable]
        self.groups: tuple[ChannelGroup, ...] = tuple(group for group, _ in held)
        self.channels = tuple(ids for _, ids in held)
        self.full = np.array([group.size for group in self.groups], np.int64)
        self._home = np.full(survey.tracer.book.count, len(self.groups), np.int64)
        for number, ids in enumerate(self.channels):
            self._home[ids] = number

    def parameters(self, counts: np.ndarray) -> int:
        """Number of entries of all weights, those that are not trained included.

        Args:
            counts: int64 [groups], how many channels each has left.
        """
        return int(self._sizes.of(counts).sum())

    def macs(self, counts: np.ndarray) -> int:
        """Multiply-accumulates of one example in the kernels whose use is known."""
        return int(self._sizes.of(counts) @ self._uses)

    def weight_bytes(self, counts: np.ndarray, bits: int) -> int:
        """Bytes of the weights: kernels of `bits` bits, other values of 32.

        Of a BatchNorm only beta counts: the rest goes into a kernel when a model is converted.
        """
        sizes = self._sizes.of(counts)
        kernels, vectors = sizes @ self._is_kernel, sizes @ self._is_vector
        return int(-(-kernels * bits // 8) + FLOAT_BYTES * vectors)

    def activation_bytes(self, counts: np.ndarray, bits: int) -> int:
        """Bytes of all tensors that are alive together, at the moment with most of them.

        One example; an operation's inputs and outputs are alive together, but for those that
        converters fuse or that work in place.

        Raises:
            ValueError: a tensor has an axis of unknown size.
        """
        return -(-self._buffers.peak(self._tensors.of(counts)) * bits // 8)

    def used(self, unit: str) -> tuple[Sizes, np.ndarray]:
        """The sizes of all weights, and how much each entry counts in a unit.

        Args:
            unit: "macs" or "parameters".
        """
        return self._sizes, self._uses if unit == "macs" else np.ones_like(self._uses)

    @cached_property
    def uncounted(self) -> tuple[str, ...]:
        """Kernels whose use is not known, so that `macs` leaves them out."""
        return tuple(
            item.site.name for item in self._kernels if self.survey.positions(item.site) is None
        )

    @cached_property
    def _weights(self) -> tuple[Any, ...]:
        view = self.survey.tracer.view
        return tuple({id(one): one for one in map(view.backend.raw, view.model.weights)}.values())

    @cached_property
    def _kernels(self) -> tuple[Found, ...]:
        return self.survey.tracer.view.sites

    @cached_property
    def _sizes(self) -> Sizes:
        held = self.survey.by_variable
        return self._linear(
            [
                (
                    tuple(map(int, one.shape)),
                    {entry.axis: entry.ids for entry in held.get(id(one), ())},
                )
                for one in self._weights
            ]
        )

    @cached_property
    def _uses(self) -> np.ndarray:
        """int64 [weights], how often each entry is used for one example; 0: not, or not known."""
        raw = self.survey.adapter.raw
        uses = {
            id(raw(item.variable)): self.survey.positions(item.site) or 0 for item in self._kernels
        }
        return np.array([uses.get(id(one), 0) for one in self._weights], np.int64)

    @cached_property
    def _is_kernel(self) -> np.ndarray:
        return np.array([len(one.shape) > 1 for one in self._weights], np.int64)

    @cached_property
    def _is_vector(self) -> np.ndarray:
        """int64 [weights], 1 for what is no kernel and is left after conversion."""
        called = (step.operation for step, _ in self.survey.tracer.history)
        folded = folded_away(called, self.survey.adapter.raw)
        return np.array(
            [
                len(one.shape) <= 1 and one.dtype.is_floating and id(one) not in folded
                for one in self._weights
            ],
            np.int64,
        )

    @cached_property
    def _buffers(self) -> Buffers:
        return Buffers.of(self.survey)

    @cached_property
    def _tensors(self) -> Sizes:
        return self._linear([_axes(one) for one in self._buffers.tensors])

    def _linear(self, arrays: Sequence[tuple[tuple[int, ...], dict[int, Any]]]) -> Sizes:
        """Of arrays with these shapes, and along some axes these channels."""
        axes = max((len(along) for _, along in arrays), default=0)
        base = np.ones(len(arrays), np.int64)
        fixed = np.ones((len(arrays), axes), np.int64)
        each = np.zeros((len(arrays), axes, len(self.groups)), np.int64)
        for number, (shape, along) in enumerate(arrays):
            base[number] = prod(size for axis, size in enumerate(shape) if axis not in along)
            for place, ids in enumerate(along.values()):
                homes = np.bincount(
                    self._home[self.survey.labels[ids]], minlength=len(self.groups) + 1
                )
                fixed[number, place] = homes[-1]
                each[number, place] = homes[:-1] // np.maximum(self.full, 1)
        return Sizes(base, fixed, each)


def folded_away(layers: Iterable[Any], raw: Callable[[Any], Any]) -> set[int]:
    """The ids of variables that go into the kernel before them when a model is converted.

    Args:
        layers: that are looked at.
        raw: from a variable of their Keras to the tf.Variable behind it.
    """
    return {
        id(raw(getattr(layer, name)))
        for layer in layers
        if has(layer, "batch_statistics")
        for name in _FOLDED
        if getattr(layer, name, None) is not None
    }


def _axes(tensor: SymbolicTensor) -> tuple[tuple[int, ...], dict[int, Any]]:
    """A tensor's shape for one example, and the channels along its axes."""
    shape = (1, *tensor.shape[1:])
    known = {axis: ids for axis, ids in enumerate(tensor.axes) if ids is not None}
    unknown = [axis for axis, size in enumerate(shape) if size is None and axis not in known]
    if unknown:
        raise ValueError(
            f"A tensor of the model has the shape {tensor.shape}: bytes of activations are counted "
            "of inputs whose every axis but the first has a size. Build the model with "
            "keras.Input(shape) of fixed sizes, or leave activation_bytes out."
        )
    return tuple(0 if size is None else size for size in shape), known
