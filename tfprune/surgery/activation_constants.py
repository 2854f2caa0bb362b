# SPDX-License-Identifier: Apache-2.0
"""What each reading kernel reads, as far as it does not depend on the model's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from tfprune.backend.substitute import around, replaced
from tfprune.layers.constants import Reader
from tfprune.surgery.agreement import batches

EXAMPLES = 3
UNKNOWN_SIZE = 32
"""Of an axis whose size the model leaves open."""


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
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        return ~(self.high - self.low <= 1e-5 * size + 1e-7 * self.largest)

    def constants(self) -> np.ndarray:
        """The values; zero where they vary, or are zero but for rounding."""
        middle = (self.low + self.high) / 2
        nothing = self.varies() | (np.abs(middle) <= 1e-7 * self.largest)
        return np.where(nothing, 0.0, middle)


def observed(model: Any, adapter: Any, readers: Sequence[Reader], data: Any) -> dict[int, Seen]:
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
    changes = [around(each[0].heard, _listening(each, seen)) for each in by_layer.values()]
    with replaced([*adapter.single_precision(model), *changes]):
        try:
            for batch in batches(model, _examples(model, adapter) if data is None else data):
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


def _listening(readers: list[Reader], seen: dict[int, Seen]):
    def listen(call, *args, **kwargs):
        outputs = call(*args, **kwargs)
        inputs = args[0] if args else next(iter(kwargs.values()))
        while isinstance(inputs, (list, tuple)):
            inputs = inputs[0]
        for one in readers:
            note = seen[id(one.kernel)]
            reads = one.kind.reads
            if reads is None:
                note.reason = f"{one.layer.name} is not known to fold constants"
            elif not hasattr(inputs, "numpy"):
                note.reason = f"{one.heard.name} cannot be watched at work"
            else:
                note.add(*reads(one, inputs, outputs))
        return outputs

    return listen


def _examples(model: Any, adapter: Any) -> Any:
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

    return tf.nest.map_structure(draw, adapter.input_specs(model))
