# SPDX-License-Identifier: Apache-2.0
"""Phones: LiteRT with XNNPACK. Weights are encoded sparsely where that is smaller and safe."""

from __future__ import annotations

from tflite_export.devices.litert_latency import Timing, measure, told
from tflite_export.devices.sparse_inference import RUNS_SPARSE, what_runs
from tflite_export.devices.target import ExportContext, FileSummary, Target
from tflite_export.flatbuffer.graph import TFLM_DECODE, Graph, read, schema, used
from tflite_export.report.measurements import Compatibility, Packed
from tflite_export.report.messages import NO_FASTER_INT8, NO_FASTER_ZEROS
from tflite_export.runtime.litert import predict
from tflite_export.sparsity.encode import encode
from tflite_export.sparsity.xnnpack.verdict import verdict

__all__ = ["MOBILE", "judge", "pack"]

_CUSTOM = frozenset(
    {
        "AudioSpectrogram",
        "Mfcc",
        "NumericVerify",
        "TFLite_Detection_PostProcess",
        "odml.scaled_dot_product_attention",
    }
)
# Of the schema's own it has all others.
_LACKING = frozenset({"CALL", "CONCAT_EMBEDDINGS", "DELEGATE"})
_STABLEHLO = frozenset(
    f"STABLEHLO_{name}"
    for name in (
        "ADD",
        "AND",
        "CASE",
        "COMPOSITE",
        "GATHER",
        "MAXIMUM",
        "MINIMUM",
        "MULTIPLY",
        "PAD",
        "REDUCE_WINDOW",
        "RNG_BIT_GENERATOR",
        "SCATTER",
        "SHIFT_LEFT",
    )
)

_SLOW_INT16 = (
    "XNNPACK has no kernels for 16-bit activations: on a phone expect int16x8 to be slower than "
    "float32"
)
_SLOW_INT4 = (
    "XNNPACK has no kernels for convolutions with int4 weights: LiteRT's built-in ones run them, "
    "so the file is smaller and slower than with int8"
)


def _unknown(graph: Graph) -> tuple[str, ...]:
    """Names of the operators of a file that LiteRT's package does not have."""
    custom = {graph.custom_name(operator) for _, operator in graph.all_operators()}
    return tuple(
        name
        for name in used(graph)
        if name in _LACKING
        or (name in custom and name not in _CUSTOM)
        or (name.startswith("STABLEHLO_") and name not in _STABLEHLO)
    )


def pack(dense: bytes, context: ExportContext) -> Packed:
    """Encode the weights of a dense file as LiteRT reads them, where the file gets smaller.

    Args:
        dense: the converted file.
        context: its number format, and the names of its weights.
    """
    remarks = ["sparse encoding not used: sparse=False"]
    packed = Packed(dense, {})
    if context.sparse:
        judged = verdict(read(dense)).everywhere
        packed = encode(dense, context.quantize, names=context.names, judged=judged)
        remarks = list(packed.remarks)
        if judged.state == "engages" and "csr" in packed.encodings.values():
            remarks += what_runs()
    if context.quantize == "int16x8":
        remarks.append(_SLOW_INT16)
    if context.quantize == "int4" and "CONV_2D" in read(dense).reading(schema().TensorType.INT4):
        remarks.append(_SLOW_INT4)
    if context.quantize in ("int8", "int16x8", "int4"):
        remarks.append(NO_FASTER_INT8)
    elif not packed.encodings:
        remarks.append(NO_FASTER_ZEROS)
    return Packed(packed.content, packed.encodings, (*remarks, *told(context.options)))


def judge(found: FileSummary) -> Compatibility:
    """Known faults of LiteRT with the encoded weights of a file."""
    objections = [*_missing(found.graph), *_refused_scales(found.graph)]
    custom = sorted(set(found.encoded.values()) & {"bitmap"})
    if custom:
        objections.append("LiteRT has no operator that decodes bitmaps")
    sparse = {at: label for at, label in found.encoded.items() if label not in custom}
    if sparse and found.quantize == "dynamic":
        objections.append("LiteRT mis-executes sparse weights under dynamic range quantization")
    if any(_is_int8_dense(found.graph, at) for at in sparse):
        objections.append("LiteRT fails to prepare a sparse int8 dense layer")
    judged = verdict(found.graph) if "csr" in sparse.values() else None
    if judged and judged.state == "unsafe":
        objections.append(judged.fault)
    if judged and judged.state == "engages":
        return Compatibility(tuple(objections), (RUNS_SPARSE, *filter(None, [judged.caution])))
    return Compatibility(tuple(objections))


def _missing(graph: Graph) -> list[str]:
    names = _unknown(graph)
    flex = [name for name in names if name.startswith("Flex")]
    others = [name for name in names if name not in (*flex, TFLM_DECODE)]
    found = [f"LiteRT has no operator {', '.join(others)}"] if others else []
    if flex:
        found.append(
            f"LiteRT's package comes without the Flex delegate, which {', '.join(flex)} needs"
        )
    return found


def _refused_scales(graph: Graph) -> list[str]:
    """The first tensor whose quantization LiteRT does not accept, whoever reads it or not."""
    for number, subgraph in enumerate(graph.model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            scales, table = len(graph.scales(number, index)), tensor.quantization
            if not scales:
                continue
            shape = graph.shape(number, index)
            axis = int(table.quantizedDimension or 0)
            zeros = 0 if table.zeroPoint is None else len(table.zeroPoint)
            fits = not shape or (0 <= axis < len(shape) and scales in (1, shape[axis]))
            if not fits or zeros != scales:
                return [
                    f"LiteRT refuses {graph.name(number, index)!r}: {scales} scales and "
                    f"{zeros} zero points along axis {axis} of {list(shape)}"
                ]
    return []


def _is_int8_dense(graph: Graph, at: tuple[int, int]) -> bool:
    dense = schema().BuiltinOperator.FULLY_CONNECTED
    read_so = any(graph.code(o) == dense for o, _ in graph.readers(at[1], at[0]))
    return read_so and graph.tensor(*at).type == schema().TensorType.INT8


MOBILE = Target(
    name="mobile",
    runtime="LiteRT with XNNPACK",
    dynamic_batch=True,
    quantize=("none", "float16", "dynamic", "int8", "int16x8", "int4"),
    four_bits=("CONV_2D", "FULLY_CONNECTED"),
    pack=pack,
    run=predict,
    measure=measure,
    judge=judge,
    options=Timing(),
)
