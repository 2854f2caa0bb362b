# SPDX-License-Identifier: Apache-2.0
"""Biases of channels without a weight, in a file that was quantised by ai-edge-quantizer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tflite_export.graph import Graph, schema

__all__ = ["restore_biases"]

# Steps to the bias of an empty channel: finer than any int8 result, far from the end of int32.
_STEPS = 2**16


def restore_biases(quantised: Graph, source: Graph) -> None:
    """Give every output channel whose weights are all zero its bias back.

    The scale of a channel follows its largest weight. Where there is none it is next to nothing,
    and so is the scale of the bias (input scale * weight scale), whose number then leaves int32.
    Here such a channel's scale follows its bias b instead: |b| / (input scale * 2 ** 16).

    Args:
        quantised: with integer weights and int32 biases; it is changed.
        source: the float32 file, with the same operators in the same order, but for those that
            convert numbers.
    """
    for weights, reads in _weights(quantised, source).items():
        tensor = quantised.tensor(*weights)
        scales = quantised.scales(*weights).astype(np.float64)
        empty = _empty(quantised.numbers(*weights), scales, tensor.quantization)
        if not empty.any():
            continue
        needed = np.max([np.abs(real) / scale for scale, _, real in reads], axis=0) / _STEPS
        needed = np.where(needed > 0, needed, 1.0)
        scales = np.where(empty, needed if scales.size > 1 else needed.max(), scales)
        tensor.quantization.scale = scales.astype(np.float32)
        for scale, bias, real in reads:
            _store(quantised, bias, np.where(empty, np.rint(real / (scale * scales)), np.nan),
                   scale * scales)


def _weights(graph: Graph, source: Graph) -> dict[tuple[int, int], list[tuple]]:
    """{quantised weight: [(scale of the input, bias, its real values) of each of its readers]}."""
    found: dict = {}
    for number in range(len(graph.model.subgraphs)):
        both = zip(_operands(graph, number), _operands(source, number), strict=True)
        for (inputs, weight, bias), (_, _, before) in both:
            real = source.numbers(number, before)
            constant = [graph.numbers(number, at) is not None for at in (weight, bias)]
            scales = [graph.scales(number, index) for index in (inputs, weight, bias)]
            if real is not None and all(constant) and all(map(len, scales)):
                read = (float(scales[0][0]), (number, bias), real)
                found.setdefault((number, weight), []).append(read)
    return found


def _operands(graph: Graph, number: int) -> Iterator[tuple[int, int, int]]:
    """The indices of (input, weight, bias) of each operator that has all three."""
    ops = schema().BuiltinOperator
    places = {ops.CONV_2D: (0, 1, 2), ops.DEPTHWISE_CONV_2D: (0, 1, 2),
              ops.FULLY_CONNECTED: (0, 1, 2), ops.TRANSPOSE_CONV: (2, 1, 3)}
    for operator in graph.operators(number):
        at = places.get(graph.code(operator))
        if at and len(operator.inputs) > max(at) and operator.inputs[max(at)] >= 0:
            yield tuple(int(operator.inputs[place]) for place in at)


def _empty(numbers: np.ndarray, scales: np.ndarray, table) -> np.ndarray:
    """Whether each scale is that of zeros alone: bool, one for each scale."""
    if scales.size == 1:
        return np.array([not numbers.any()])
    others = tuple(axis for axis in range(numbers.ndim)
                   if axis != int(table.quantizedDimension or 0))
    return ~numbers.any(axis=others)


def _store(graph: Graph, at: tuple[int, int], wanted: np.ndarray, scales: np.ndarray) -> None:
    """Write the numbers of a bias that are not NaN, and its scales."""
    tensor, before = graph.tensor(*at), graph.numbers(*at)
    numbers = np.where(np.isnan(wanted), before, np.nan_to_num(wanted)).astype(before.dtype)
    tensor.buffer = graph.new_buffer(numbers.tobytes())
    tensor.quantization.scale = scales.astype(np.float32)
