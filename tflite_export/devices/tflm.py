# SPDX-License-Identifier: Apache-2.0
"""Microcontrollers: TFLite Micro. Pruned weights are stored as bitmaps and decoded at run time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflite_export.devices import cortex_m_arena
from tflite_export.devices.target import ExportContext, FileSummary, Target, is_count
from tflite_export.devices.tensor_lists import unsized
from tflite_export.devices.tflm_arena import arena_remarks, choose
from tflite_export.devices.tflm_faults import explained
from tflite_export.devices.tflm_operators import instead, unknown
from tflite_export.devices.tflm_rewrites import rewritten
from tflite_export.devices.vela import compiled_for
from tflite_export.flatbuffer.aligned_buffers import aligned
from tflite_export.flatbuffer.graph import Graph, read, schema
from tflite_export.flatbuffer.layer_origins import failed, with_layers
from tflite_export.flatbuffer.signature_io import ports
from tflite_export.report.measurements import Compatibility, Measured, Measurement, Packed
from tflite_export.report.messages import listed
from tflite_export.runtime import litert, tflm_interpreter
from tflite_export.sparsity.bitmap_encoding import bitmap
from tflite_export.sparsity.densify import plain
from tflite_export.sparsity.tflm_decode import attach, candidates, decodable, expanded

__all__ = ["LABEL", "Micro", "TFLM", "measure", "pack", "run"]

LABEL = "bitmap"

_DECODED = (
    "weights encoded as bitmap are decoded before each use: they take less flash and more RAM "
    "(arena), and inference is not faster"
)
_SCALES_FIXED = {"none": "no scales", "int4": "one for each channel"}
_DENSE = "no weight was encoded: dense zeros take a byte and a multiplication like any other weight"


@dataclass(frozen=True)
class Micro:
    """The options of a microcontroller's file.

    Fields: `ram_bytes` = the largest tensor arena, as it is measured on this computer of 64 bits,
    or None where flash alone counts; `dense_per_channel` = whether integer weights of dense layers
    have a scale for each channel, or one for each layer: less flash and a smaller arena, usually
    at a larger error.

    Example:
        >>> Micro(0)
        Traceback (most recent call last):
        ValueError: ram_bytes=0: expected a whole number of bytes, at least 1, or None
    """

    ram_bytes: int | None = None
    dense_per_channel: bool = True

    def __post_init__(self):
        if not isinstance(self.dense_per_channel, bool):
            raise ValueError(
                f"dense_per_channel={self.dense_per_channel!r}: expected True or False"
            )
        if self.ram_bytes is not None and not is_count(self.ram_bytes):
            raise ValueError(
                f"ram_bytes={self.ram_bytes!r}: expected a whole number of bytes, at least 1, or "
                "None"
            )


def pack(dense: bytes, context: ExportContext) -> Packed:
    """Align a dense file, and encode the weights that save flash without breaking the RAM budget.

    Args:
        dense: the converted file; sparse-encoded weights are made dense first.
        context: `context.options` is a `Micro`.
    Raises:
        ValueError: an operator that TFLite Micro does not have, a RAM budget that is too small,
            or one that cannot be checked because the interpreter is not installed; dense layers of
            files that cannot have one scale.
    """
    options = context.options or Micro()
    if context.quantize in _SCALES_FIXED and not options.dense_per_channel:
        raise ValueError(
            f"dense_per_channel=False is not possible with quantize={context.quantize!r}, whose "
            f'dense layers have {_SCALES_FIXED[context.quantize]}; choose quantize="int8"'
        )
    named = rewritten(plain(dense))
    prepared = _prepared(named)
    least = _refused(prepared, named, context)
    ram_bytes = options.ram_bytes
    if ram_bytes is not None and least is None:
        raise ValueError(f"ram_bytes={ram_bytes:,} cannot be checked: {tflm_interpreter.MISSING}")
    graph = read(prepared)
    found = candidates(graph) if context.sparse else {}

    def encoded(places) -> bytes:
        edited = Graph(prepared)
        attach(edited, {place: found[place].packed for place in places})
        return aligned(edited)

    chosen = tuple(found)
    if ram_bytes is not None:
        chosen = choose(
            found, ram_bytes, lambda places: tflm_interpreter.arena_bytes(encoded(places))
        )
    content = encoded(chosen) if chosen else prepared
    if len(content) >= len(prepared):
        content, chosen = prepared, ()
    remarks = _remarks(context, graph, set(chosen), found.keys() if ram_bytes else ())
    if least is not None:
        remarks += arena_remarks(content, prepared, bounded=ram_bytes is not None)
    return Packed(content, dict.fromkeys(chosen, LABEL), remarks, prepared)


def _remarks(
    context: ExportContext, graph: Graph, chosen: set[tuple[int, int]], kept_out
) -> tuple[str, ...]:
    """Why weights are dense; `kept_out` would be smaller as bitmaps, but for the budget."""
    if not context.sparse:
        return ("sparse encoding not used: sparse=False", _DENSE)
    remarks = [_DECODED if chosen else _DENSE]
    dense, readable = context.names.keys() - chosen, set(decodable(graph))
    four = {at for at in context.names if graph.tensor(*at).type == schema().TensorType.INT4}
    groups = {
        "dense, its operator reads the weight when the model is loaded": dense - readable - four,
        "dense, there are no bitmaps of int4": four,
        "dense, a bitmap and the other values would not be smaller": dense
        & readable - set(kept_out),
        "dense, to keep the arena within the budget": dense & set(kept_out),
    }
    for why, places in groups.items():
        if places:
            remarks.append(f"{listed([context.names[place] for place in sorted(places)])}: {why}")
    return (*remarks, *_smaller_as_int8(graph, four))


def _smaller_as_int8(graph: Graph, places: set[tuple[int, int]]) -> list[str]:
    """With many zeros a bitmap of 8-bit values beats 4 bits for each weight."""
    stored = sum(len(graph.bytes_of(*at)) for at in places)
    bitmaps = sum(bitmap(graph.constant(*at)).nbytes for at in places)
    if bitmaps >= stored:
        return []
    return [
        f"the int4 weights take {stored:,} bytes, and would take about {bitmaps:,} as bitmaps of "
        'int8: try quantize="int8"'
    ]


def run(content: bytes, inputs: dict[str, np.ndarray], batch: int = 1) -> dict[str, np.ndarray]:
    """Outputs of TFLite Micro's interpreter; of LiteRT, on decoded weights, if it is not there."""
    if tflm_interpreter.installed():
        return tflm_interpreter.predict(content, inputs, batch=batch)
    return litert.predict(expanded(content), inputs, batch=batch)


def measure(content: bytes, options=None) -> Measured:
    """Bytes of flash that a file takes, and of RAM for its tensors."""
    flash = Measurement("flash", len(content), "bytes")
    if not tflm_interpreter.installed():
        return Measured((flash,), (f"arena not measured: {tflm_interpreter.MISSING}",))
    try:
        return Measured(
            (
                flash,
                Measurement("arena", tflm_interpreter.arena_bytes(content), "bytes"),
                Measurement("Cortex-M arena", cortex_m_arena.arena_bytes(content), "bytes"),
            )
        )
    except (RuntimeError, ValueError) as error:
        return Measured((flash,), (f"arena not measured: {error}",))


def judge(found: FileSummary) -> Compatibility:
    """Operators and encodings that TFLite Micro does not have."""
    objections = []
    missing = unknown(found.graph)
    if missing:
        objections.append(f"TFLite Micro has no operator {', '.join(missing)}")
    if set(found.encoded.values()) - {LABEL}:
        objections.append(
            "TFLite Micro reads no sparse encoding, and computes with the packed bytes where it "
            "finds one; export the model for it"
        )
    if found.graph.reading(schema().TensorType.INT4) & {"FULLY_CONNECTED"}:
        objections.append("TFLite Micro refuses dense layers of int4 weights, scaled by channel")
    notes = [
        f"it needs the accelerator that Vela compiled it for, {name}, and TFLite Micro built for it"
        for name in compiled_for(found.graph)
    ]
    return Compatibility(tuple(objections), tuple(notes))


def _prepared(dense: bytes) -> bytes:
    """Buffers at multiples of 16 bytes; names of tensors, which nothing reads there, left out."""
    graph = Graph(dense)
    for subgraph in graph.model.subgraphs:
        kept = {int(index) for index in (*subgraph.inputs, *subgraph.outputs)}
        for index, tensor in enumerate(subgraph.tensors):
            if index not in kept:
                tensor.name = None
    return aligned(graph)


def _refused(content: bytes, named: bytes, context: ExportContext) -> int | None:
    """The arena of a dense file, None if it cannot be measured here.

    Args:
        content, named: the file, and the same with the names of its tensors.
        context: its first example is run, since some operators look at types only then.
    Raises:
        ValueError: TFLite Micro does not execute the file.
    """
    missing = unknown(read(content))
    if missing:
        raise ValueError(
            f"TFLite Micro has no operator {context.origins.blamed(read(named), missing)}; "
            f"{instead(missing)}"
        )
    # It would write beyond their memory: wrong values, a dead process, or loops without an end.
    open_parts = [
        context.origins.of(read(named), operator, number)
        for number, operator in unsized(read(named))
    ]
    if open_parts:
        raise ValueError(
            "TFLite Micro has memory for tensors of known sizes only, and the size of what "
            f"{with_layers('SLICE', open_parts)} gives is known only when it runs; take parts of a "
            "fixed size"
        )
    graph = read(content)
    for port, index in zip(ports(content)[0], graph.model.subgraphs[0].inputs, strict=True):
        readers = {graph.operator_name(operator) for operator, _ in graph.readers(index)}
        if port.dtype == "uint8" and "CAST" in readers:
            raise ValueError(
                f"TFLite Micro casts no uint8, which input {port.name!r} is in Keras; make it "
                "float32 there: with quantize='int8' and target('tflm', input_type='uint8') the "
                "file takes uint8"
            )
    if not tflm_interpreter.installed():
        return None
    try:
        least = tflm_interpreter.arena_bytes(content)
        if context.inputs:
            first = {name: array[:1] for name, array in context.inputs.items()}
            tflm_interpreter.predict(content, first)
        return least
    except RuntimeError as error:
        why = explained(str(error), content, named, context.origins)
        names = [name for name, _ in filter(None, [failed(str(error))])]
        raise ValueError(f"{why}; {instead(names, 'change the model, or quantize=')}") from error


# Its reference kernels take a second for four inferences of a MobileNet, hence the few examples.
TFLM = Target(
    name="tflm",
    runtime="TFLite Micro",
    quantize=("none", "int8", "int16x8", "int4"),
    integer_io=True,
    four_bits=("CONV_2D",),
    options=Micro(),
    examples=64,
    reset=tflm_interpreter.RESET,
    pack=pack,
    run=run,
    measure=measure,
    judge=judge,
)
