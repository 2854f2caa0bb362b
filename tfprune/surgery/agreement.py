# SPDX-License-Identifier: Apache-2.0
"""Distance between the outputs of two models, where they can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfprune.backend import adapter_of

_BATCH = 64


@dataclass(frozen=True)
class Agreement:
    """What two models make of the same inputs.

    Attributes:
        examples: how many inputs.
        deviation: the largest difference of an output, relative to the largest output.
        changed: the share of decisions, in [0, 1], where another entry along the last axis of an
            output is the largest: another class, for classifiers. None: no output has several.
    """

    examples: int
    deviation: float
    changed: float | None

    def __str__(self) -> str:
        share = "" if self.changed is None else f", {self.changed:.4%} of the classes change"
        return (
            f"on {self.examples:,} examples outputs differ by up to {self.deviation:.1e} of "
            f"the largest{share}"
        )


def agreement(model: Any, other: Any, data: Any) -> Agreement:
    """Compare the outputs of two models in evaluation.

    Args:
        model, other: Keras models with the same inputs and outputs.
        data: inputs, in the structure of the models' own.
    """
    differences, sizes, changed, examples = [0.0], [0.0], [], 0
    for batch in batches(model, data):
        examples += len(tf.nest.flatten(batch)[0])
        pairs = zip(
            *(tf.nest.flatten(one(batch, training=False)) for one in (model, other)), strict=True
        )
        for first, second in (map(_numbers, pair) for pair in pairs):
            differences.append(np.abs(first - second).max())
            sizes.append(np.abs(first).max())
            if first.ndim > 1 and first.shape[-1] > 1:
                changed.append((first.argmax(-1) != second.argmax(-1)).ravel())
    difference, largest = float(np.max(differences)), float(np.max(sizes))  # NaN remains NaN
    return Agreement(
        examples,
        difference / largest if largest else difference,
        float(np.mean(np.concatenate(changed))) if changed else None,
    )


def _numbers(output: Any) -> np.ndarray:
    return np.asarray(output).astype(np.float64)


def check_finite(model: Any, advice: str) -> None:
    """Look for NaN and infinity in the weights: a ReLU may hide them from the outputs.

    Args:
        advice: what to do, for the error.

    Raises:
        ValueError: there is some.
    """
    adapter = adapter_of(model)
    for variable in model.weights:
        raw = adapter.raw(variable)
        if raw.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(raw))):
            name = getattr(variable, "path", None) or variable.name
            raise ValueError(
                f"The weight {name!r} has NaN or infinite values: the training diverged; {advice}."
            )


def check_inputs(model: Any, data: Any) -> None:
    """Refuse what is no inputs of a model; None is fine.

    Raises:
        TypeError: something else than arrays.
        ValueError: more or less than the inputs; NaN or infinity in one.
    """
    if data is None:
        return
    wanted, given = (
        len(tf.nest.flatten(one)) for one in (adapter_of(model).input_specs(model), data)
    )
    for one in tf.nest.flatten(data):
        if not hasattr(one, "shape"):
            raise TypeError(
                "data: expected arrays or tensors, the inputs of the model alone, got "
                f"{type(one).__name__}."
            )
    if given != wanted:
        raise ValueError(
            f"data holds {given} arrays, but the model {model.name!r} has {wanted} "
            f"input{'s' * (wanted > 1)}: data is inputs only: pass x, not (x, y)."
        )
    for one in tf.nest.flatten(data):
        dense = np.asarray(getattr(one, "flat_values", getattr(one, "values", one)))
        if dense.dtype.kind not in "OSU" and not np.isfinite(dense).all():
            raise ValueError(
                "data holds NaN or infinity: outputs cannot be compared on it. Pass finite inputs."
            )


def batches(model: Any, data: Any) -> Iterator[Any]:
    """A model's inputs in parts that fit into memory; whole where they cannot be cut.

    Raises:
        ValueError: no example.
    """
    specs, given = adapter_of(model).input_specs(model), tf.nest.flatten(data)
    if len(given) == len(tf.nest.flatten(specs)) == 1:
        data = tf.nest.pack_sequence_as(specs, given)
    shapes: list[Sequence] = [getattr(one, "shape", ()) for one in given]
    lengths = {shape[0] if len(shape) else None for shape in shapes}
    is_open = all(one.shape.rank and one.shape[0] is None for one in tf.nest.flatten(specs))
    if not is_open or len(lengths) != 1 or None in lengths:
        yield data
        return
    (count,) = lengths
    if not count:
        raise ValueError("data holds no example: pass some inputs of the model, or leave it out.")
    for start in range(0, count, _BATCH):
        yield tf.nest.map_structure(itemgetter(slice(start, start + _BATCH)), data)
