# SPDX-License-Identifier: Apache-2.0
"""A float file -> an int8 file with weights of 4 bits, by ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator

import numpy as np

from tflite_export.devices.io_types import IOTypes
from tflite_export.flatbuffer.graph import Graph, schema, text
from tflite_export.runtime.suppress_stderr import suppress_stderr

__all__ = ["MISSING", "installed", "quantized", "restore_biases"]

# Steps to the bias of an empty channel: finer than any int8 result, far from the end of int32.
_STEPS = 2**16

MISSING = "quantize='int4' needs ai-edge-quantizer; pip install 'tfprune[int4]'"

_ALL = "*"


def restore_biases(quantized: Graph, source: Graph) -> None:
    """Give every output channel whose weights are all zero its bias back.

    The scale of a channel follows its largest weight. Where there is none it is next to nothing,
    and so is the scale of the bias (input scale * weight scale), whose number then leaves int32.
    Here such a channel's scale follows its bias b instead: |b| / (input scale * 2 ** 16).

    Args:
        quantized: with integer weights and int32 biases; it is changed.
        source: the float32 file, with the same operators in the same order, but for those that
            convert numbers.
    """
    for weights, reads in _weights(quantized, source).items():
        tensor = quantized.tensor(*weights)
        scales = quantized.scales(*weights).astype(np.float64)
        empty = _empty(quantized.constant(*weights), scales, tensor.quantization)
        if not empty.any():
            continue
        needed = np.max([np.abs(real) / scale for scale, _, real in reads], axis=0) / _STEPS
        needed = np.where(needed > 0, needed, 1.0)
        scales = np.where(empty, needed if scales.size > 1 else needed.max(), scales)
        tensor.quantization.scale = scales.astype(np.float32)
        for scale, bias, real in reads:
            _store(
                quantized,
                bias,
                np.where(empty, np.rint(real / (scale * scales)), np.nan),
                scale * scales,
            )


def _weights(graph: Graph, source: Graph) -> dict[tuple[int, int], list[tuple]]:
    """{quantized weight: [(scale of the input, bias, its real values) of each of its readers]}."""
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
    places = {
        ops.CONV_2D: (0, 1, 2),
        ops.DEPTHWISE_CONV_2D: (0, 1, 2),
        ops.FULLY_CONNECTED: (0, 1, 2),
        ops.TRANSPOSE_CONV: (2, 1, 3),
    }
    for operator in graph.operators(number):
        at = places.get(graph.code(operator))
        if at and len(operator.inputs) > max(at) and operator.inputs[max(at)] >= 0:
            taken, weight, bias = (int(operator.inputs[place]) for place in at)
            yield taken, weight, bias


def _empty(numbers: np.ndarray, scales: np.ndarray, table) -> np.ndarray:
    """Whether each scale is that of zeros alone: bool, one for each scale."""
    if scales.size == 1:
        return np.array([not numbers.any()])
    others = tuple(
        axis for axis in range(numbers.ndim) if axis != int(table.quantizedDimension or 0)
    )
    return np.logical_not(numbers.any(axis=others))


def _store(graph: Graph, at: tuple[int, int], wanted: np.ndarray, scales: np.ndarray) -> None:
    """Write the numbers of a bias that are not NaN, and its scales."""
    tensor, before = graph.tensor(*at), graph.constant(*at)
    numbers = np.where(np.isnan(wanted), before, np.nan_to_num(wanted)).astype(before.dtype)
    tensor.buffer = graph.new_buffer(numbers.tobytes())
    tensor.quantization.scale = scales.astype(np.float32)


def installed() -> bool:
    """Whether the package ai-edge-quantizer is there."""
    return importlib.util.find_spec("ai_edge_quantizer") is not None


def quantized(
    content: bytes,
    operators: tuple[str, ...],
    *,
    io_types: IOTypes,
    calibration: dict[str, np.ndarray],
) -> bytes:
    """Quantize a float32 file: activations and weights to 8 bits, those of some operators to 4.

    Weights are quantized symmetrically, channel by channel, so that zeros stay zeros.

    Args:
        content: bytes of a dense float32 file.
        operators: those whose weights take 4 bits, e.g. ("CONV_2D", "FULLY_CONNECTED").
        io_types: "float32" inputs or outputs stay so, others become int8.
        calibration: {input name: array [examples, ...]}.
    Raises:
        RuntimeError: ai-edge-quantizer is not installed, or it refuses the file.
    """
    if not installed():
        raise RuntimeError(MISSING)
    rows = [
        {name: array[row : row + 1] for name, array in calibration.items()}
        for row in range(len(next(iter(calibration.values()))))
    ]
    try:
        # It prints a report and a bar of its progress, through Python; LiteRT logs beside it.
        unseen = io.StringIO()
        with (
            suppress_stderr(),
            contextlib.redirect_stdout(unseen),
            contextlib.redirect_stderr(unseen),
        ):
            made = _made(content, operators, io_types, rows)
    except Exception as error:
        raise RuntimeError(
            f"ai-edge-quantizer refused the model: {type(error).__name__}: {str(error)[:400]}"
        ) from error
    graph = Graph(made)
    source = Graph(content)
    restore_biases(graph, source)
    _keep_open(graph, source)
    return _without_detours(graph)


def _made(content: bytes, operators: tuple[str, ...], io_types: IOTypes, rows: list) -> bytes:
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.tfl_interpreter_utils import create_tfl_interpreter

    recipe = RecipeManager()
    recipe.add_static_config(".*", TFLOperationName(_ALL), 8, 8)
    for operator in operators:
        recipe.add_static_config(".*", TFLOperationName(operator), 8, 4)
    for end, kind in (("INPUT", io_types.input_type), ("OUTPUT", io_types.output_type)):
        if kind == "float32":
            recipe.add_quantization_config(".*", TFLOperationName(end), algorithm_key="no_quantize")
    # Left to itself it takes a moving average of the ranges, which cuts off what is rare.
    calibrator = Calibrator(content, num_threads=1, qsv_update_func=_widest)
    # Under XNNPACK some values that it asks for are never stored, and open axes fail.
    calibrator._tfl_interpreter = create_tfl_interpreter(
        content, use_xnnpack=False, num_threads=1, preserve_all_tensors=True
    )
    signature = text(Graph(content).model.signatureDefs[0].signatureKey)
    calibrator.calibrate({signature: rows}, recipe)
    tool = Quantizer(content, recipe.get_quantization_recipe())
    return bytes(tool.quantize(calibrator.get_model_qsvs()).quantized_model)


def _widest(before: dict, seen: dict) -> dict:
    """The range of an activation over all examples."""
    return {
        "min": np.minimum(before["min"], seen["min"]),
        "max": np.maximum(before["max"], seen["max"]),
    }


def _keep_open(graph: Graph, source: Graph) -> None:
    """Outputs that were put behind a DEQUANTIZE have lost their open axes."""
    open_axes = {
        text(entry.name): source.tensor(0, entry.tensorIndex).shapeSignature
        for entry in source.model.signatureDefs[0].outputs
    }
    for entry in graph.model.signatureDefs[0].outputs:
        graph.tensor(0, entry.tensorIndex).shapeSignature = open_axes[text(entry.name)]


def _without_detours(graph: Graph) -> bytes:
    """SHAPE reads what it is asked for as it is: nothing has to be made float32 for that."""
    ops = schema().BuiltinOperator
    for number, subgraph in enumerate(graph.model.subgraphs):
        kept = []
        for operator in graph.operators(number):
            readers = []
            if graph.code(operator) == ops.DEQUANTIZE:
                readers = graph.readers(int(operator.outputs[0]), number)
            if (
                not readers
                or operator.outputs[0] in subgraph.outputs
                or any(graph.code(reader) != ops.SHAPE for reader, _ in readers)
            ):
                kept.append(operator)
                continue
            for reader, position in readers:
                reader.inputs[position] = operator.inputs[0]
        subgraph.operators = kept
    return graph.content()
