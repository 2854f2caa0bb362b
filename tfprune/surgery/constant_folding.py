# SPDX-License-Identifier: Apache-2.0
"""Constants that dead channels carry, folded into what reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from tfprune.backend.model_view import ModelView
from tfprune.channels.model_channels import Survey
from tfprune.channels.normalization_folding import folds
from tfprune.layers.base import has, raw
from tfprune.layers.call import KeptChannels
from tfprune.layers.channel_graph import Ids, Role
from tfprune.layers.constants import Reader, readers, spreads
from tfprune.surgery.agreement import batches

EXAMPLES = 3
UNKNOWN_SIZE = 32
"""Of an axis whose size the model leaves open."""


@dataclass(frozen=True)
class Folded:
    """Constants that went into a layer.

    Attributes:
        reader: the kernel that read them.
        channels: how many of its entries.
        into: where they are now: "bias", "a new bias", or "moving_mean of" a normalization.
        border: whether the layer reads zeros beside the constants at the border of an image,
            where the folded model therefore differs.
    """

    reader: str
    channels: int
    into: str
    border: bool

    def __str__(self) -> str:
        where = ", exact but for the border" if self.border else ""
        return f"{self.channels} entries of {self.reader} into {self.into}{where}"


@dataclass
class Folding:
    """What folding changes: `added` by the id of a variable, `biases` by the id of a layer that
    had none, already without the channels that go."""

    added: dict[int, np.ndarray] = field(default_factory=dict)
    biases: dict[int, np.ndarray] = field(default_factory=dict)
    folded: list[Folded] = field(default_factory=list)


@dataclass
class Seen:
    """The smallest and largest values along the reading axes of a kernel.

    Attributes:
        low, high: arrays along those axes; None before the first call.
        largest: the largest absolute value of all.
        reason: why nothing is known, else None.
    """

    low: np.ndarray | None = None
    high: np.ndarray | None = None
    largest: float = 0.0
    reason: str | None = None

    def add(self, value: Any, axes: int) -> None:
        """One more call."""
        others = tuple(range(len(value.shape) - axes))
        low, high = (
            np.asarray(reduce(value, others), np.float64)
            for reduce in (tf.reduce_min, tf.reduce_max)
        )
        self.low = low if self.low is None else np.minimum(self.low, low)
        self.high = high if self.high is None else np.maximum(self.high, high)
        self.largest = max(self.largest, float(np.abs([self.low, self.high]).max()))

    def varies(self) -> np.ndarray:
        """Where the values differ by more than what rounding explains."""
        assert self.low is not None and self.high is not None
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        return ~(self.high - self.low <= 1e-5 * size + 1e-7 * self.largest)

    def constants(self) -> np.ndarray:
        """The values; zero where they vary, or are zero but for rounding."""
        assert self.low is not None and self.high is not None
        middle = (self.low + self.high) / 2
        nothing = self.varies() | (np.abs(middle) <= 1e-7 * self.largest)
        return np.where(nothing, 0.0, middle)


def observed(view: ModelView, readers: Sequence[Reader], data: Any) -> dict[int, Seen]:
    """Run a model and look at what kernels read: {id of the kernel: Seen}.

    Args:
        readers: the kernels.
        data: inputs of the model; None: random ones.

    Raises:
        ValueError: the model cannot be run on random inputs.
    """
    seen = {id(one.kernel): Seen() for one in readers}
    by_layer: dict[int, list[Reader]] = {}
    for one in readers:
        by_layer.setdefault(id(one.heard), []).append(one)

    def note(layer: Any, args: tuple, kwargs: dict[str, Any], outputs: Any) -> None:
        inputs = args[0] if args else next(iter(kwargs.values()))
        while isinstance(inputs, (list, tuple)):
            inputs = inputs[0]
        for one in by_layer[id(layer)]:
            _look(seen[id(one.kernel)], one, inputs, outputs)

    model = view.model
    heard = [each[0].heard for each in by_layer.values()]
    with view.in_single_precision(), view.record_calls(heard, note, eagerly=False):
        try:
            for batch in batches(model, _examples(view) if data is None else data):
                model(batch, training=False)
        except Exception as error:
            if data is not None:
                raise
            raise ValueError(
                f"{model.name!r} does not run on random inputs, which are needed to find out what "
                f"dead channels carry ({type(error).__name__}: {str(error)[:200]}). Pass a few "
                "examples of its inputs: tfprune.shrink(model, data=inputs)."
            ) from error
    return seen


def _look(seen: Seen, one: Reader, inputs: Any, outputs: Any) -> None:
    reads = one.kind.reads
    if reads is None:
        seen.reason = f"{one.layer.name} is not known to fold constants"
    elif not hasattr(inputs, "numpy"):
        seen.reason = f"{one.heard.name} cannot be watched at work"
    else:
        seen.add(*reads(one, inputs, outputs))


def _examples(view: ModelView) -> Any:
    """Random inputs in the structure of a model's own."""
    generator = np.random.default_rng(0)

    def draw(spec: tf.TensorSpec) -> Any:
        sizes = [UNKNOWN_SIZE if size is None else size for size in spec.shape]
        if spec.shape.rank and spec.shape[0] is None:
            sizes[0] = EXAMPLES
        if spec.dtype.is_floating:
            return tf.constant(generator.normal(size=sizes), spec.dtype)
        if spec.dtype.is_integer or spec.dtype.is_bool:
            return tf.cast(generator.integers(0, 2, sizes), spec.dtype)
        raise TypeError(f"no random values of {spec.dtype.name}")

    return tf.nest.map_structure(draw, view.input_specs)


class Constants:
    """Looks once at what the readers of dead channels read; then tells what can be folded."""

    def __init__(self, survey: Survey, dead: np.ndarray, data: Any):
        self.survey = survey
        wanted = {
            id(entry.variable)
            for entry in survey.tracer.book.entries.values()
            if entry.role is Role.CONSUMER and dead[survey.labels[entry.ids]].any()
        }
        view = survey.tracer.view
        self.readers = readers(view, wanted)
        self.seen = observed(view, self.readers, data) if self.readers else {}
        self.norms = folds(view)
        self.sites = {
            id(entry.variable): entry.site for entry in survey.tracer.book.entries.values()
        }

    def standing(self, kept: KeptChannels, borders: bool) -> list[tuple[Ids, str]]:
        """Channels that cannot go, since what they carry cannot be folded, with the reason.

        Args:
            borders: whether constants are folded where this is not exact at a border.
        """
        found = []
        for one in self.readers:
            gone, varying, constants = self._constants(one, kept)
            seen = self.seen[id(one.kernel)]
            if seen.reason or seen.low is None:
                reason = seen.reason or f"{one.layer.name} was not seen at work"
                found.append((self._channels(one, kept, gone), reason))
                continue
            if varying.any():
                reason = f"{self.sites[id(one.kernel)]} does not read a constant"
                found.append((self._channels(one, kept, varying), reason))
            if constants.any():
                why = self._obstacle(one, constants, borders)
                if why is not None:
                    found.append((self._channels(one, kept, constants != 0), why))
        return [(ids, reason) for ids, reason in found if ids.size]

    def fold(self, kept: KeptChannels) -> Folding:
        """Fold all constants of the channels that go."""
        result = Folding()
        for one in self.readers:
            *_, constants = self._constants(one, kept)
            if not constants.any():
                continue
            value = one.worth(constants)
            into = self._sink(one)
            assert into is not None and not isinstance(value, str)  # `standing` keeps the others
            if into == "a new bias":
                for place, axis in enumerate(one.kind.makes(one)):
                    mask = kept.masks(one.kernel).get(axis)
                    value = value if mask is None else np.compress(mask, value, place)
                before = result.biases.get(id(one.layer), 0.0)
                result.biases[id(one.layer)] = before + value
            else:
                variable, change = self._change(one, into, value)
                result.added[id(variable)] = result.added.get(id(variable), 0.0) + change
            result.folded.append(
                Folded(
                    self.sites[id(one.kernel)], int(np.count_nonzero(constants)), into, spreads(one)
                )
            )
        return result

    def _constants(
        self, one: Reader, kept: KeptChannels
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Along the reading axes: what goes, what of it is read and varies, and the constants."""
        seen = self.seen[id(one.kernel)]
        axes = [entry.axis for entry in self._entries(one)]
        gone = np.zeros([one.kernel.shape[axis] for axis in axes], bool)
        for place, entry in enumerate(self._entries(one)):
            across = [1] * len(axes)
            across[place] = -1
            gone |= ~kept.mask(entry.ids).reshape(across)
        if not gone.any() or seen.low is None:
            return gone, np.zeros_like(gone), np.zeros(gone.shape)
        others = tuple(axis for axis in range(len(one.kernel.shape)) if axis not in axes)
        gone = gone & (one.kernel.numpy() != 0).any(axis=others)
        gone = np.broadcast_to(gone, seen.low.shape)  # a grouped convolution has one row a group
        return gone, gone & seen.varies(), np.where(gone, seen.constants(), 0.0)

    def _entries(self, one: Reader):
        return [
            entry
            for entry in self.survey.by_variable[id(one.kernel)]
            if entry.role is Role.CONSUMER
        ]

    def _channels(self, one: Reader, kept: KeptChannels, where: np.ndarray) -> Ids:
        """The channels that go and lie at these places."""
        entries = self._entries(one)
        where = np.any(where.reshape(-1, *where.shape[where.ndim - len(entries) :]), axis=0)
        found = []
        for place, entry in enumerate(entries):
            others = tuple(axis for axis in range(where.ndim) if axis != place)
            ids = entry.ids[where.any(axis=others) & ~kept.mask(entry.ids)]
            found.append(self.survey.labels[ids])
        return np.unique(np.concatenate(found))

    def _obstacle(self, one: Reader, constants: np.ndarray, borders: bool) -> str | None:
        value = one.worth(constants)
        if isinstance(value, str):
            return value
        if spreads(one) and not borders:
            return (
                f"{one.layer.name} reads zeros beside it at the border; borders=True folds "
                "it, which is not exact there"
            )
        into = self._sink(one)
        if into is None:
            return f"{one.layer.name} has no bias to take up what it carries"
        if into == "bias" and self._change(one, into, value)[1] is None:
            return f"the bias of {one.layer.name} is too small to take up what it carries"
        return None

    def _sink(self, one: Reader) -> str | None:
        if one.variable("bias") is not None:
            return "bias"
        norm = self.norms.get(id(one.layer))
        if norm is not None and len(self.survey.by_operation.get(id(norm), ())) == 1:
            return f"moving_mean of {norm.name}"
        closed = any(has(layer, "projections") for layer in one.chain)
        return (
            None
            if closed or not hasattr(one.layer, "use_bias") and not hasattr(one.layer, "bias_axes")
            else "a new bias"
        )

    def _change(self, one: Reader, into: str, value: np.ndarray) -> tuple[Any, Any]:
        """The variable and what is added to it."""
        if into != "bias":
            return raw(one.adapter, self.norms[id(one.layer)], "moving_mean"), -value
        bias = one.variable("bias")
        shape = tuple(bias.shape)
        if len(shape) == 2 and one.kind.gates:
            return bias, np.stack([value, np.zeros_like(value)])
        return bias, value.reshape(shape) if value.size == np.prod(shape) else None
