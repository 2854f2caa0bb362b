# SPDX-License-Identifier: Apache-2.0
"""Arm's Ethos-U accelerators: dense int8 files, compiled by Vela, which packs the zeros."""

from __future__ import annotations

import functools
import os

import numpy as np

from tflite_export.devices import vela
from tflite_export.devices.target import ExportContext, FileSummary, Target
from tflite_export.devices.tflm_operators import unknown
from tflite_export.devices.vela import UNKNOWN, compiled_for
from tflite_export.flatbuffer.graph import Graph, read, schema
from tflite_export.flatbuffer.layer_origins import with_layers
from tflite_export.report.measurements import Compatibility, Measured, Measurement, Packed
from tflite_export.report.messages import listed
from tflite_export.runtime.litert import predict
from tflite_export.runtime.tflm_interpreter import RESET
from tflite_export.sparsity.densify import plain

__all__ = ["ethos_u", "follows_two_of_four", "measure", "pack"]

# DENSIFY is an error in Vela, and a sparse FULLY_CONNECTED is compiled to garbage.
_NO_SPARSE = (
    "Vela takes dense int8 weights only; it packs the zeros itself, so they reduce flash traffic "
    "there"
)
_UNASKED = "Vela was not asked: which operators it leaves to the CPU, export and the compiler tell"
_FOUR_BITS = "Vela crashes on weights of 4 bits"
_KEPT, _GROUP = 2, 4


@functools.cache
def ethos_u(accelerator: str) -> Target:
    """The target of one accelerator configuration.

    Args:
        accelerator: one that `registry.ACCELERATORS` lists, as Vela names them.

    Example:
        >>> ethos_u("ethos-u55-128").quantize
        ('int8', 'int16x8')
    """
    return Target(
        name=accelerator,
        runtime="Ethos-U through Vela",
        quantize=("int8", "int16x8"),
        integer_io=True,
        loops=False,
        no_sparse=_NO_SPARSE,
        reset=RESET,
        why_not={"int4": _FOUR_BITS},
        options=vela.Memory(),
        run=predict,
        pack=functools.partial(pack, accelerator),
        measure=functools.partial(measure, accelerator),
        judge=functools.partial(judge, accelerator),
    )


def pack(accelerator: str, dense: bytes, context: ExportContext) -> Packed:
    """The dense file, and what the accelerator makes of it.

    Args:
        accelerator: as Vela names it.
        dense: the converted int8 file; encoded weights are made dense.
        context: `context.options` is a `vela.Memory`.
    Raises:
        ValueError: Vela leaves every operator to the CPU.
        RuntimeError: Vela's file is asked for, and Vela is not installed or fails.
    """
    dense = plain(dense)
    remarks = [
        _NO_SPARSE,
        "run in LiteRT for verification: the accelerator's arithmetic cannot be run here",
    ]
    if accelerator.startswith("ethos-u85"):
        remarks += _two_of_four(dense, context)
    memory, made = context.options or vela.Memory(), None
    if not vela.installed() and memory.compiled is not None:
        raise RuntimeError(f"compiled= is what Vela makes: {vela.MISSING}")
    if vela.installed():
        system, mode = memory.chosen(accelerator)
        remarks.append(f"Vela's numbers are estimates, here for {system} with {mode}")
        try:
            found = vela.compiled(dense, accelerator, memory)
        except RuntimeError:
            if memory.compiled is not None:
                raise
            # `measure` says so in the report, where the numbers would be.
            return Packed(dense, {}, tuple(remarks))
        reasons = [
            f"{_named(name, tensors, read(dense), context)}: {reason}"
            for name, (reason, tensors) in found.on_cpu.items()
        ]
        if reasons and not found.on_npu:
            others = "" if unknown(read(dense)) else ", or choose target='tflm'"
            raise ValueError(
                f"{accelerator} executes no operator of this model: {listed(reasons)}; replace "
                f"these layers{others}"
            )
        if reasons:
            remarks.append(f"left to the CPU by Vela: {listed(reasons)}")
        if memory.compiled is not None:
            made = found.content
            remarks.append(
                f"{os.fsdecode(memory.compiled)}: what Vela made of it for TFLite Micro with this "
                f"accelerator, {len(made):,} bytes; c_package packs it"
            )
    return Packed(dense, {}, tuple(remarks), compiled=made)


def _named(name: str, tensors: tuple[str, ...], graph: Graph, context: ExportContext) -> str:
    """Operators that Vela has a name for, or "None", by the tensors that they give."""
    giving = [
        operator
        for operator in graph.operators()
        if any(graph.name(0, int(index)) in tensors for index in operator.outputs)
    ]
    if name == "None":
        name = ", ".join(sorted({graph.operator_name(operator) for operator in giving})) or name
    return with_layers(name, (context.origins.of(graph, operator) for operator in giving))


def measure(accelerator: str, content: bytes, options: vela.Memory | None = None) -> Measured:
    """Vela's estimate of flash, SRAM, cycles and time; the size of the file in any case.

    Example:
        >>> measure("ethos-u55-128", b"no model").values[0]
        Measurement(name='file', value=8, unit='bytes')
    """
    options = options or vela.Memory()
    file = Measurement("file", len(content), "bytes")
    if not vela.installed():
        return Measured((file,), (f"flash, SRAM, cycles and time not estimated: {vela.MISSING}",))
    try:
        if plain(content) is not content:
            raise ValueError("its weights are encoded, which Vela reads as garbage")
        found = vela.compiled(content, accelerator, options)
    except (RuntimeError, ValueError) as error:
        return Measured((file,), (f"flash, SRAM, cycles and time not estimated: {error}",))
    return Measured((file, *found.values))


def judge(accelerator: str, found: FileSummary) -> Compatibility:
    """Faults of Vela with a file; of a compiled file, whether it is for this accelerator."""
    known = compiled_for(found.graph)
    if known:
        texts = {name: f"Vela compiled it for {name}" for name in known if name != accelerator}
        note = texts.pop(UNKNOWN, "")
        return Compatibility(tuple(texts.values()), (note,) if note else ())
    objections = []
    if found.encoded:
        objections.append("Vela reads encoded weights as garbage, or stops at their operators")
    tensors = (t for graph in found.graph.model.subgraphs for t in graph.tensors)
    if any(tensor.type == schema().TensorType.INT4 for tensor in tensors):
        objections.append(_FOUR_BITS)
    return Compatibility(tuple(objections), (_UNASKED,))


def _two_of_four(dense: bytes, context: ExportContext) -> list[str]:
    """Remarks on the weights that let the U85 skip half of the multiplications."""
    graph = read(dense)
    ops = schema().BuiltinOperator
    fitting: list[str] = []
    others: list[str] = []
    for at, array in sorted(graph.constants().items()):
        readers = graph.readers(at[1], at[0])
        codes = {graph.code(operator) for operator, position in readers if position == 1}
        if at not in context.names or not codes or codes - {ops.CONV_2D, ops.FULLY_CONNECTED}:
            continue
        (fitting if follows_two_of_four(array) else others).append(context.names[at])
    remarks = []
    if fitting:
        remarks.append(
            "at most 2 of 4 weights along the input channels are not zero, which the U85 reads as "
            f"2:4 and multiplies at up to twice the rate: {listed(fitting)}"
        )
    if others:
        remarks.append(
            "not 2:4 along the input channels, so every zero is multiplied: "
            f"{listed(others)}; prune with structure=tfprune.NofM(2, 4), sparsity 0.5"
        )
    return remarks


def follows_two_of_four(array: np.ndarray) -> bool:
    """Whether each 4 consecutive entries of the last axis (a shorter rest included) have at most 2
    that are not zero.

    Example:
        >>> follows_two_of_four(np.array([[0, 1, 2, 0, 3]])), follows_two_of_four(np.ones((1, 3)))
        (True, False)
    """
    rows = array.reshape(-1, array.shape[-1]) != 0
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % _GROUP)))
    return bool(np.all(padded.reshape(len(rows), -1, _GROUP).sum(-1) <= _KEPT))
