# SPDX-License-Identifier: Apache-2.0
"""Checks that every zero of the Keras weights is a zero in the file."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tflite_export.flatbuffer.graph import read

__all__ = ["Match", "check", "match", "weights_of"]

# Same tensor or not: mean |cosine| of rows. Quantization and folded BatchNorm factors leave it
# near 1; unrelated random rows of n entries have about 1 / sqrt(n).
_SAME, _CERTAIN = 0.6, 0.995


@dataclass(frozen=True)
class Match:
    """The place of a Keras weight (or of a gate's part of it) in the file.

    `at` is None if the converter split or merged the weight beyond recognition; `zeros` counts
    the zeros of the Keras weight, `broken` those that are not zero in the file.
    """

    weight: str
    at: tuple[int, int] | None
    zeros: int
    broken: int


def check(model, content: bytes) -> tuple[dict[tuple[int, int], str], list[str]]:
    """Find the model's weights in a file and check that no zero was lost.

    Args:
        model: plain Keras model.
        content: a dense .tflite file made from it.
    Returns:
        {place in the file: name of the weight}, and a remark on weights that were not found.
    Raises:
        RuntimeError: a zero of a Keras weight is not zero in the file.
    """
    graph = read(content)
    stored = {
        at: graph.dequantized(*at, array)
        for at, array in graph.constants().items()
        if array.ndim >= 2 and array.dtype.name in ("float32", "float16", "int8")
    }
    matches = match(weights_of(model), stored)
    broken = [f"{m.weight} ({m.broken} of them)" for m in matches if m.broken]
    if broken:
        raise RuntimeError(
            "zeros of the Keras weights are no zeros in the file: "
            + ", ".join(broken)
            + "; no file was written"
        )
    lost = [m.weight for m in matches if m.at is None and m.zeros]
    remarks = []
    if lost:
        remarks.append(
            "zeros not checked, because the converter split or merged the weight: "
            + ", ".join(lost)
        )
    return {m.at: m.weight for m in matches if m.at is not None}, remarks


def weights_of(model) -> dict[str, np.ndarray]:
    """The model's weights of rank 2 or more, biases excepted, as float32 arrays by name.

    Of several with one name (tf_keras does not tell those of loaded layers apart) the second is
    "name (2)", and so on.
    """
    found: dict[str, np.ndarray] = {}
    seen: collections.Counter[str] = collections.Counter()
    for variable in model.weights:
        name = (getattr(variable, "path", None) or variable.name).partition(":")[0]
        if len(variable.shape) >= 2 and "bias" not in name.rpartition("/")[2]:
            seen[name] += 1
            unique = name if seen[name] == 1 else f"{name} ({seen[name]})"
            found[unique] = np.asarray(variable, dtype=np.float32)
    return found


def match(weights: dict[str, np.ndarray], stored: dict[tuple[int, int], np.ndarray]) -> list[Match]:
    """Find each weight among the constants of a file, by its values.

    Shapes do not identify a weight (axes are permuted, names change), so it is compared in every
    arrangement that has the shape of a constant: rows may be scaled (BatchNorm is folded in) and
    values rounded, zeros may not change. Recurrent kernels are also tried gate by gate.

    Args:
        weights: {name: Keras weight}.
        stored: {place in the file: dequantized constant}.
    Returns:
        One `Match` per weight, or per gate.

    Example:
        >>> kernel = np.array([[1., 0, 3, 5], [0, 2, 4, 6], [7, 0, 8, 9.]])
        >>> match({"kernel": kernel}, {(0, 4): 2 * kernel.T})
        [Match(weight='kernel', at=(0, 4), zeros=3, broken=0)]
    """
    found = []
    for name, weight in weights.items():
        whole = _best(name, weight, stored)
        gates = [] if whole.at is not None else _gates(name, weight, stored)
        found += gates or [whole]
    return found


def _gates(name: str, weight: np.ndarray, stored: dict[tuple[int, int], np.ndarray]) -> list[Match]:
    """Matches of the 4 (LSTM) or 3 (GRU) kernels side by side in one; empty if not all are."""
    for count in (4, 3):
        if weight.shape[-1] % count:
            continue
        parts = np.split(weight, count, axis=-1)
        matches = [
            _best(f"{name}[gate {number}]", part, stored) for number, part in enumerate(parts)
        ]
        if all(found.at is not None for found in matches):
            return matches
    return []


def _best(name: str, weight: np.ndarray, stored: dict[tuple[int, int], np.ndarray]) -> Match:
    zeros = int(np.count_nonzero(weight == 0))
    best, result = _SAME, Match(name, None, zeros, 0)
    for at, constant in stored.items():
        if constant.size != weight.size:
            continue
        for arranged in _arrangements(weight, constant.shape):
            similarity = _similarity(arranged, constant)
            if similarity > best:
                broken = int(np.count_nonzero((arranged == 0) & (constant != 0)))
                best, result = similarity, Match(name, at, zeros, broken)
            if similarity > _CERTAIN and result.broken == 0:
                return result
    return result


def _arrangements(weight: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Every permutation of the axes that can be reshaped to `shape` by joining or splitting."""
    usual: dict[int, list[tuple[int, ...]]] = {
        2: [(1, 0)],
        3: [(2, 0, 1)],
        4: [(3, 0, 1, 2), (2, 0, 1, 3)],
    }
    seen = set()
    for order in (*usual.get(weight.ndim, []), *itertools.permutations(range(weight.ndim))):
        # Axes of length 1 can stand anywhere: only the order of the others counts.
        key = tuple(axis for axis in order if weight.shape[axis] != 1)
        permuted = tuple(weight.shape[axis] for axis in order)
        if key not in seen and _joins(permuted, shape):
            seen.add(key)
            yield weight.transpose(order).reshape(shape)


def _joins(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Can one shape be made from the other by joining neighboring axes?"""

    def edges(shape: tuple[int, ...]) -> set[int]:
        return set(itertools.accumulate((n for n in shape if n != 1), lambda x, y: x * y))

    return edges(a) <= edges(b) or edges(b) <= edges(a)


def _similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Mean |cosine| of rows along the first or the last axis, whichever fits better."""
    if not np.any(a) or not np.any(b):
        return 1.0 if not np.any(a) and not np.any(b) else 0.0
    last = [x.reshape(-1, x.shape[-1]).T for x in (a, b)]
    first = [x.reshape(len(x), -1) for x in (a, b)]
    whole = [x.reshape(1, -1) for x in (a, b)]
    # Rows of a few entries resemble each other by chance.
    return max(_rows(x, y) for x, y in (whole, first, last) if x.shape[1] >= 8 or x.shape[0] == 1)


def _rows(a: np.ndarray, b: np.ndarray) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    used = np.linalg.norm(a, axis=1) > 0
    cosine = np.abs(np.einsum("ij,ij->i", a, b)) / np.where(norms > 0, norms, 1)
    return float(np.mean(cosine[used])) if used.any() else 0.0
