# SPDX-License-Identifier: Apache-2.0
"""A float file -> an int8 file with weights of 4 bits, by ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import importlib.util
import io

import numpy as np

from tflite_export.borders import Borders
from tflite_export.empty_channels import restore_biases
from tflite_export.graph import Graph, schema, text
from tflite_export.quiet import quiet

__all__ = ["MISSING", "installed", "quantised"]

MISSING = "quantize='int4' needs ai-edge-quantizer; pip install 'tfprune[int4]'"

_ALL = "*"


def installed() -> bool:
    """Whether the package ai-edge-quantizer is there."""
    return importlib.util.find_spec("ai_edge_quantizer") is not None


def quantised(
    content: bytes, operators: tuple[str, ...], *, borders: Borders,
    calibration: dict[str, np.ndarray],
) -> bytes:
    """Quantise a float32 file: activations and weights to 8 bits, those of some operators to 4.

    Weights are quantised symmetrically, channel by channel, so that zeros stay zeros.

    Args:
        content: bytes of a dense float32 file.
        operators: those whose weights take 4 bits, e.g. ("CONV_2D", "FULLY_CONNECTED").
        borders: "float32" inputs or outputs stay so, others become int8.
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
        with quiet(), contextlib.redirect_stdout(unseen), contextlib.redirect_stderr(unseen):
            made = _made(content, operators, borders, rows)
    except Exception as error:
        raise RuntimeError(
            f"ai-edge-quantizer refused the model: {type(error).__name__}: {str(error)[:400]}"
        ) from error
    graph = Graph(made)
    source = Graph(content)
    restore_biases(graph, source)
    _keep_open(graph, source)
    return _without_detours(graph)


def _made(content: bytes, operators: tuple[str, ...], borders: Borders, rows: list) -> bytes:
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.tfl_interpreter_utils import create_tfl_interpreter

    recipe = RecipeManager()
    recipe.add_static_config(".*", TFLOperationName(_ALL), 8, 8)
    for operator in operators:
        recipe.add_static_config(".*", TFLOperationName(operator), 8, 4)
    for end, kind in (("INPUT", borders.input_type), ("OUTPUT", borders.output_type)):
        if kind == "float32":
            recipe.add_quantization_config(
                ".*", TFLOperationName(end), algorithm_key="no_quantize"
            )
    # Left to itself it takes a moving average of the ranges, which cuts off what is rare.
    calibrator = Calibrator(content, num_threads=1, qsv_update_func=_widest)
    # Under XNNPACK some values that it asks for are never stored, and open axes fail.
    calibrator._tfl_interpreter = create_tfl_interpreter(
        content, use_xnnpack=False, num_threads=1, preserve_all_tensors=True)
    signature = text(Graph(content).model.signatureDefs[0].signatureKey)
    calibrator.calibrate({signature: rows}, recipe)
    tool = Quantizer(content, recipe.get_quantization_recipe())
    return bytes(tool.quantize(calibrator.get_model_qsvs()).quantized_model)


def _widest(before: dict, seen: dict) -> dict:
    """The range of an activation over all examples."""
    return {"min": np.minimum(before["min"], seen["min"]),
            "max": np.maximum(before["max"], seen["max"])}


def _keep_open(graph: Graph, source: Graph) -> None:
    """Outputs that were put behind a DEQUANTIZE have lost their open axes."""
    open_axes = {text(entry.name): source.tensor(0, entry.tensorIndex).shapeSignature
                 for entry in source.model.signatureDefs[0].outputs}
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
            if not readers or operator.outputs[0] in subgraph.outputs or any(
                graph.code(reader) != ops.SHAPE for reader, _ in readers
            ):
                kept.append(operator)
                continue
            for reader, position in readers:
                reader.inputs[position] = operator.inputs[0]
        subgraph.operators = kept
    return graph.content()
