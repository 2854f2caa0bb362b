# SPDX-License-Identifier: Apache-2.0
"""Comparison of a file's outputs with those of the Keras model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tflite_export.convert.signature import Signature
from tflite_export.runtime.litert import predict
from tflite_export.runtime.suppress_stderr import suppress_stderr
from tfprune.output import warn

__all__ = [
    "Comparison",
    "check_finite",
    "check_float",
    "check_order",
    "check_quantized",
    "compare",
    "reference",
    "same",
]

Run = Callable[..., dict[str, np.ndarray]]
TOLERANCE = 1e-4
WARN_BELOW = 0.9
_BATCH = 32


@dataclass(frozen=True)
class Comparison:
    """`error` = max |a - b| / max |a|, and `agreement` in [0, 1]; the worst output counts."""

    error: float
    agreement: float
    worst: str


def check_finite(model) -> None:
    """Look for NaN and infinity in the weights: a ReLU may hide them from the outputs.

    Raises:
        ValueError: there is some.
    """
    for variable in model.weights:
        value = np.asarray(variable)
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            name = getattr(variable, "path", None) or variable.name
            raise ValueError(
                f"the weight {name!r} has NaN or infinite values: the training diverged; export a "
                "model from before"
            )


def reference(
    call: Callable[[dict], dict], signature: Signature, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The Keras model's outputs for all examples, in Keras' order.

    Args:
        call: as made by `converter.forward`.
        signature: names of the inputs.
        inputs: {name: array [examples, ...]}.
    Raises:
        ValueError: an output is NaN or infinite, so nothing can be compared.
    """
    import tensorflow as tf

    names: list[str] = []

    @tf.function(reduce_retracing=True)
    def compiled(rows: dict) -> list:
        found = call(rows)
        names[:] = found
        return list(found.values())

    count = len(inputs[signature.names[0]])
    parts = []
    with suppress_stderr():
        for start in range(0, count, _BATCH):
            rows = {k: tf.constant(a[start : start + _BATCH]) for k, a in inputs.items()}
            parts.append([y.numpy() for y in compiled(rows)])
    arrays = [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
    outputs = dict(zip(names, arrays, strict=True))
    for name, y in outputs.items():
        if not np.all(np.isfinite(y)):
            raise ValueError(
                f"the Keras model's output {name!r} has NaN or infinite values, so the file "
                "cannot be verified; check the weights and the data"
            )
    return outputs


def compare(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> Comparison:
    """Compare two sets of outputs, of equal names in equal order, position by position.

    Raises:
        RuntimeError: other names, another order or shape, or two outputs in each other's place.

    Example:
        >>> compare({"y": np.array([[1., 2]])}, {"y": np.array([[1., 1]])})
        Comparison(error=0.5, agreement=0.0, worst='y')
    """
    check_order("outputs", list(got), list(expected))
    _check_exchanged(list(expected.values()), list(got.values()))
    results = []
    for name, want in expected.items():
        have = got[name]
        if have.shape != want.shape:
            raise RuntimeError(
                f"output {name!r} has shape {have.shape} in the file, expected {want.shape}"
            )
        want, have = want.astype(np.float64), have.astype(np.float64)
        difference = np.abs(want - have)
        error = float(np.max(difference, initial=0) / (np.max(np.abs(want), initial=0) or 1.0))
        if want.ndim > 1 and want.shape[-1] > 1:
            agreement = float(np.mean(want.argmax(-1) == have.argmax(-1)))
        else:
            agreement = max(0.0, 1 - float(difference.mean() / (np.abs(want).mean() or 1.0)))
        # A NaN is the largest error there is, and must not be lost in a comparison.
        results.append(Comparison(error if np.isfinite(error) else np.inf, agreement, name))
    worst = max(results, key=lambda result: result.error)
    return Comparison(worst.error, min(result.agreement for result in results), worst.worst)


def check_order(side: str, found: list[str], expected: list[str]) -> None:
    """Names by position: those of a file, and those of the Keras model.

    Raises:
        RuntimeError: they differ, or their order.
    """
    if found != expected:
        raise RuntimeError(
            f"the file has {side} {found} by position, the Keras model {expected}; no file was "
            "written"
        )


def _check_exchanged(expected: list[np.ndarray], got: list[np.ndarray]) -> None:
    """Rounding may hide it from the largest error that two outputs changed places."""
    for first, second in itertools.combinations(range(len(expected)), 2):
        if expected[first].shape != expected[second].shape:
            continue
        straight, crossed = (
            sum(
                float(np.mean(np.abs(np.subtract(expected[a], got[b], dtype=np.float64))))
                for a, b in pairs
            )
            for pairs in (((first, first), (second, second)), ((first, second), (second, first)))
        )
        if crossed < straight / 2:
            raise RuntimeError(
                f"the file's outputs {first} and {second} lie in each other's place; no file was "
                "written"
            )


def check_float(
    content: bytes,
    inputs: dict[str, np.ndarray],
    *,
    expected: dict[str, np.ndarray],
    batch: str,
    run: Run = predict,
) -> Comparison:
    """Compare a float32 file with Keras.

    Args:
        content: the file.
        inputs, expected: as from `reference`.
        batch: "dynamic" files are also run with two examples at once.
        run: executes the file as its device does, see `devices.target.Target`.
    Raises:
        RuntimeError: the deviation exceeds 1e-4 of the largest |output|.
    """
    result = compare(expected, run(content, inputs))
    if batch == "dynamic":
        two = {name: array[:2] for name, array in inputs.items()}
        together = compare({n: y[:2] for n, y in expected.items()}, run(content, two, batch=2))
        result = max(result, together, key=lambda r: r.error)
    if not result.error <= TOLERANCE:
        raise RuntimeError(
            f"the file's output {result.worst!r} deviates from the Keras model by "
            f"{result.error:.2g} of its largest value, expected at most {TOLERANCE:g}; "
            "no file was written"
        )
    return result


def check_quantized(
    content: bytes,
    inputs: dict[str, np.ndarray],
    *,
    expected: dict[str, np.ndarray],
    run: Run = predict,
) -> Comparison:
    """Compare a quantized file with Keras; warns below 0.9 agreement, since that is a judgment."""
    result = compare(expected, run(content, inputs))
    if result.agreement < WARN_BELOW:
        warn(
            f"the quantized file agrees with the Keras model in {result.agreement:.0%} of the "
            f"outputs, less than {WARN_BELOW:.0%}; try representative data closer to real inputs, "
            "or another quantize="
        )
    return result


def same(
    dense: bytes, packed: bytes, inputs: dict[str, np.ndarray], *, run: Run = predict
) -> str | None:
    """Why the encoded file may not stand for the dense one, or None.

    Both run in the same interpreter. Weights that are expanded first must give equal bits; a
    kernel that reads blocks directly sums in another order, so float outputs may differ by
    rounding.
    """
    try:
        result = compare(run(dense, inputs), run(packed, inputs))
    except (RuntimeError, ValueError) as error:
        return f"the interpreter refuses it ({str(error).splitlines()[0]})"
    if not result.error <= TOLERANCE / 10:
        return f"its outputs deviate by {result.error:.2g} from the dense file"
    return None
