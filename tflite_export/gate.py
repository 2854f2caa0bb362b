"""When a sparse encoding must not be written at all."""

from __future__ import annotations

from tflite_export.graph import Graph, schema

__all__ = ["refusal"]

_DYNAMIC = (
    "sparse encoding refused: LiteRT mis-executes sparse weights under dynamic range quantization "
    "(convolutions fail to prepare, block-sparse dense layers return wrong values)"
)
_INT16 = (
    "sparse encoding refused: sparse weights beside 16-bit activations are not known to run "
    "correctly"
)
_STEM = (
    "sparse encoding refused: the model has a 3-channel 3x3 convolution of stride 2, where "
    "XNNPACK may enter sparse inference on Arm and return wrong values without an error"
)
_POINTWISE = (
    "sparse encoding refused: the model has a 1x1 convolution, which XNNPACK may execute by "
    "sparse inference on Arm and return wrong values without an error"
)


def refusal(graph: Graph, quantize: str) -> str | None:
    """Why this file must stay dense, or None.

    XNNPACK's sparse inference is switched on by a DENSIFY anywhere in a float graph, and is off
    on x86, so a comparison on the developer's machine cannot show its faults.

    Args:
        graph: the converted, dense file.
        quantize: the number format that was asked for.
    Returns:
        One sentence, or None when sparse encodings are safe.
    """
    if quantize == "dynamic":
        return _DYNAMIC
    if quantize == "int16x8":
        return _INT16
    kinds = schema().TensorType
    for subgraph in range(len(graph.model.subgraphs)):
        for operator in graph.operators(subgraph):
            if graph.code(operator) != schema().BuiltinOperator.CONV_2D:
                continue
            # Sparse inference exists for float values only; in an int8 file a layer that the
            # converter left in float counts nevertheless.
            if graph.tensor(subgraph, operator.inputs[0]).type != kinds.FLOAT32:
                continue
            _, height, width, channels = graph.tensor(subgraph, operator.inputs[1]).shape
            if (height, width) == (1, 1):
                return _POINTWISE
            strides = (operator.builtinOptions.strideH, operator.builtinOptions.strideW)
            if (height, width, channels) == (3, 3, 3) and strides == (2, 2):
                return _STEM
    return None
