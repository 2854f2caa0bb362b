# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers cut out of a model, and one step of each, so that both can be calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export.convert.signature import is_own
from tflite_export.convert.tracing import standing_in

__all__ = ["Cut", "Uncut", "cut_out", "recorded", "step_of", "visited"]

_KINDS = ("GRU", "LSTM", "SimpleRNN")
_ROWS = 500


class Uncut(Exception):
    """A call of a layer that is more than a loop from zeros over all steps."""


@dataclass(frozen=True)
class Cut:
    """A call of a recurrent layer.

    Fields: `name` = TensorFlow's name of its result; `taken`, `given` = shapes of the sequence in
    the order in which it is read, [1, steps, features], and of the result.
    """

    layer: Any
    name: str
    taken: tuple[int, ...]
    given: tuple[int, ...]

    @property
    def states(self) -> list[int]:
        """Sizes of its states; the first is what the layer returns."""
        sizes = self.layer.cell.state_size
        return list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]


def recorded(model, call: Callable[[dict], dict], specs: dict) -> tuple[list[Cut], Any]:
    """The calls of recurrent layers in a model.

    Args:
        model: of either Keras.
        call: as made by `converter.forward`.
        specs: {input name: TensorSpec}.
    Returns:
        The calls, and a function of the inputs that gives the sequence "taken_0", ... and the
        result "given_0", ... of each.
    Raises:
        Uncut: one of them cannot be cut out.
    """
    import tensorflow as tf

    seen: list[tuple] = []

    def called(layer, sequences):
        result = type(layer).call(layer, sequences, training=False)
        seen.append((layer, _in_order(layer, sequences), result))
        return result

    def run(**tensors):
        seen.clear()
        call(tensors)
        return {
            f"{side}_{n}": tf.identity(tensor)
            for n, (_, *both) in enumerate(seen)
            for side, tensor in zip(("taken", "given"), both, strict=True)
        }

    with standing_in(model, _finding(called)):
        traced = tf.function(run).get_concrete_function(**specs)
    cuts = [Cut(layer, y.op.name, tuple(x.shape), tuple(y.shape)) for layer, x, y in seen]
    return cuts, traced


def cut_out(model, call: Callable[[dict], dict], specs: dict, cuts: list[Cut]):
    """The model without the cuts: their results "given_0", ... are inputs, and the sequences that
    they would read, "taken_0", ..., outputs. A concrete function."""
    import tensorflow as tf

    taken: dict[str, Any] = {}
    results: list[Any] = []

    def called(layer, sequences):
        taken[f"taken_{len(taken)}"] = tf.identity(_in_order(layer, sequences))
        return results[len(taken) - 1]

    def run(**tensors):
        taken.clear()
        results[:] = [tensors.pop(f"given_{n}") for n in range(len(cuts))]
        return {**call(tensors), **taken}

    further = {
        f"given_{n}": tf.TensorSpec(cut.given, "float32", name=f"given_{n}")
        for n, cut in enumerate(cuts)
    }
    with standing_in(model, _finding(called)):
        return tf.function(run).get_concrete_function(**specs, **further)


def step_of(cut: Cut, rows: int | None = 1):
    """One step of a layer: a concrete function of the features "x" and the states "s0", ... that
    gives the next states by the same names."""
    import tensorflow as tf

    def run(x, **states):
        _, after = cut.layer.cell(x, [states[f"s{n}"] for n in range(len(states))], training=False)
        after = after if isinstance(after, (list, tuple)) else [after]
        return {f"s{n}": tf.identity(state) for n, state in enumerate(after)}

    specs = {
        f"s{n}": tf.TensorSpec((rows, size), "float32", name=f"s{n}")
        for n, size in enumerate(cut.states)
    }
    return tf.function(run).get_concrete_function(
        x=tf.TensorSpec((rows, cut.taken[-1]), "float32", name="x"), **specs
    )


def visited(cut: Cut, sequences: np.ndarray) -> dict[str, np.ndarray]:
    """What a step reads while a layer goes over sequences [examples, steps, features]: some rows
    of "x", "s0", ..., those with the extremes among them."""
    import tensorflow as tf

    step = step_of(cut, rows=None)
    states = {f"s{n}": tf.zeros((len(sequences), size)) for n, size in enumerate(cut.states)}
    seen: dict[str, list] = {"x": [], **{name: [] for name in states}}
    # The last states are read by nobody, and are what the layer returns: their range counts.
    for at in [*range(sequences.shape[1]), -1]:
        x = tf.constant(sequences[:, at])
        for name, value in {"x": x, **states}.items():
            seen[name].append(value.numpy())
        states = step(x=x, **states)
    joined = {name: np.concatenate(parts) for name, parts in seen.items()}
    count = len(joined["x"])
    rows = set(np.linspace(0, count - 1, min(count, _ROWS)).astype(int))
    for array in joined.values():
        rows |= {int(array.min(1).argmin()), int(array.max(1).argmax())}
    return {name: array[sorted(rows)] for name, array in joined.items()}


def _in_order(layer, sequences):
    import tensorflow as tf

    return tf.reverse(sequences, [1]) if layer.go_backwards else sequences


def _finding(called: Callable) -> Callable:
    """A stand-in for every recurrent layer, which gives `called(layer, sequences)`."""

    def find(layer):
        if type(layer).__name__ not in _KINDS or not is_own(layer):
            return None

        def call(sequences, initial_state=None, mask=None, training=False):
            if (
                mask is not None
                or initial_state is not None
                or layer.return_state
                or layer.unroll
                or getattr(layer, "time_major", False)
            ):
                raise Uncut(layer.name)
            return called(layer, sequences)

        return call

    return find
