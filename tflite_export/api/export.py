# SPDX-License-Identifier: Apache-2.0
"""`export`: strip, convert, check, encode, verify, and only then write."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

import tfprune
from tflite_export.api.verify import (
    Comparison,
    check_finite,
    check_float,
    check_order,
    check_quantized,
    reference,
    same,
)
from tflite_export.convert import int4
from tflite_export.convert.converter import CALIBRATED, convert, forward
from tflite_export.convert.file_io import check_io_types
from tflite_export.convert.index_check import check_indices
from tflite_export.convert.representative_data import examples, random_examples, spread
from tflite_export.convert.signature import family, signature
from tflite_export.convert.tracing import in_float32
from tflite_export.devices.registry import executing
from tflite_export.devices.target import ExportContext, Target
from tflite_export.flatbuffer.graph import read
from tflite_export.flatbuffer.signature_io import ports
from tflite_export.report.export_report import ExportReport
from tflite_export.report.measurements import Packed
from tflite_export.report.messages import gzip_bytes, of_the_file
from tflite_export.report.tensor_stats import weights
from tflite_export.sparsity import zero_check
from tfprune.output import reserved

__all__ = ["export"]

_EXAMPLES, _RANDOM_EXAMPLES = 1000, 64


def export(
    model,
    path: str | os.PathLike[str],
    *,
    target: str | Target = "mobile",
    quantize: str = "none",
    sparse: str | bool = "auto",
    data=None,
) -> ExportReport:
    """Write a Keras model as a verified .tflite file and report what was gained.

    The model is stripped of pruning wrappers, converted, packed for the device, and compared with
    Keras in an interpreter, position by position; only when all is well it replaces `path`.

    Position i of the file is `model.inputs[i]` and `model.outputs[i]`; of a subclassed model, what
    it takes and returns, one after the other. A dict is taken by its sorted keys, as Keras does (an
    `OrderedDict` of Keras 3 as it is). The report names all: `ports`.

    Args:
        model: a built Keras 3 or tf_keras model, wrapped for pruning or plain.
        path: the file to write, in an existing folder.
        target: a name of `targets()`, or a `target(name, ...)` with options, as
            `target("ethos-u55-128", compiled="firmware.tflite")` for Vela's file as well.
        quantize: "none" (float32), "float16", "dynamic" (int8 weights), "int8" (weights and
            activations), "int16x8" (int16 activations, int8 weights) or "int4" (as "int8", with
            int4 weights where the device's operators read them; needs the extra `int4`). Inputs
            and outputs of these three stay float32 on phones and are integers on the others;
            `target(name, input_type="uint8", output_type="float32")` asks for other ones.
        sparse: "auto" = encode the weights where the file gets smaller and the runtime executes
            it correctly; False = never; True = as "auto", but an error if nothing could be
            encoded.
        data: examples to verify with and to calibrate integers: an array, a list, tuple or dict of
            arrays for several inputs, or a tf.data.Dataset with or without labels. At most 1,000
            examples are used. Without data: 64 seeded random ones.
    Returns:
        `ExportReport`: bytes, zeros per weight, what was measured for the device, error,
        agreement, and remarks on what was not gained.
    Raises:
        ValueError: an unknown or impossible option, unbuilt model, missing or misshapen data, a
            model that the target refuses, or `sparse=True` when no encoding is possible.
        TypeError: not a Keras model.
        OSError: `path` cannot be written.
        RuntimeError: the converter or quantizer refused the model, or is not installed; a zero was
            lost; the float32 file deviates from Keras by more than 1e-4. The old file at `path`,
            if any, is kept.

    Example:
        >>> import keras, tempfile
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = export(model, f"{folder}/model.tflite")
        >>> report.batch, report.inputs, report.error < 1e-4
        ('dynamic', 'seeded random', True)
    """
    device = executing(target, quantize)
    family(model)
    _check_options(device, path, quantize=quantize, sparse=sparse, data=data)
    sparse = sparse if sparse == "auto" else bool(sparse)
    paths = [path] if device.compiled is None else [path, device.compiled]
    with reserved(*paths) as place:
        plain = tfprune.strip_pruning(model)
        with in_float32(plain) as was_mixed:
            packed, report = _verified(plain, device, quantize=quantize, sparse=sparse, data=data)
        remarks = list(report.remarks)
        if report.sparse and report.gzip_bytes >= report.dense_gzip_bytes:
            remarks.append("with gzip, the encoded file is not smaller than the dense one")
        if was_mixed:
            remarks.append("the mixed precision model was exported with float32 computation")
        report = replace(
            report,
            path=os.fsdecode(path),
            compiled=os.fsdecode(device.compiled or ""),
            remarks=tuple(remarks),
        )
        files = packed.content, packed.compiled or b""
        place.commit(*files[: len(paths)])
    return report


def _check_options(device: Target, path, *, quantize: str, sparse, data) -> None:
    if device.compiled is not None and os.path.realpath(device.compiled) == os.path.realpath(path):
        raise ValueError(f"compiled={device.compiled!r} is the path of the file it is made of")
    if sparse not in ("auto", True, False):
        raise ValueError(f"unknown sparse={sparse!r}; possible are 'auto', True and False")
    if sparse != "auto" and sparse and device.no_sparse:
        raise ValueError(
            f"sparse=True is impossible for target {device.name!r}: {device.no_sparse}"
        )
    if quantize in CALIBRATED and data is None:
        raise ValueError(
            f"quantize={quantize!r} needs representative data; pass data= with about 100 to 1,000 "
            "typical inputs (an array, a list or dict of arrays for several inputs, or a "
            "tf.data.Dataset)"
        )
    if quantize == "int4" and not int4.installed():
        raise RuntimeError(int4.MISSING)


def _verified(plain, device: Target, *, quantize: str, sparse, data) -> tuple[Packed, ExportReport]:
    known = signature(plain, data)
    check_finite(plain)
    if data is None:
        inputs = random_examples(plain, known, _RANDOM_EXAMPLES)
    else:
        inputs = examples(data, known, _EXAMPLES)
    checked = spread(inputs, device.examples)
    expected = reference(forward(plain, known), known, checked)
    dense = convert(plain, known, target=device, quantize=quantize, inputs=inputs)
    names, remarks = zero_check.check(plain, dense.content)
    remarks += check_io_types(dense.content, device.io_types)
    check_indices(dense.content, dense.origins)
    remarks += _fixed_axes(known, dense, inputs, data)
    context = ExportContext(
        quantize, names, checked, sparse is not False, device.options, dense.origins
    )
    packed = _packed(dense.content, device, context)
    if sparse is True and not packed.encodings:
        raise ValueError("sparse=True, but no weight was encoded: " + "; ".join(packed.remarks))
    taken, given = ports(packed.content)
    check_order("inputs", [port.name for port in taken], list(known.names))
    try:
        comparison = _compare(packed.content, dense.batch, context, expected, device)
    except RuntimeError as error:
        why = dense.origins.explained(str(error), read(dense.content))
        if why == str(error):
            raise
        raise RuntimeError(why) from error
    remarks += packed.remarks
    remarks += of_the_file(
        dense.content,
        names,
        quantized=quantize in CALIBRATED,
        unrolled=dense.unrolled,
        reset=device.reset,
        fixed=device.dynamic_batch and dense.batch == "1",
    )
    if data is None:
        remarks.append(
            "verified on seeded random inputs only; pass data= for agreement on real ones"
        )
    if all(np.all(y == y[:1]) for y in expected.values()):
        remarks.append(
            "the model gave the same output for every example, so the comparison proves little"
        )
    report = ExportReport(
        path="",
        target=device.name,
        runtime=device.runtime,
        quantize=quantize,
        batch=dense.batch,
        error=comparison.error,
        agreement=comparison.agreement,
        inputs="seeded random" if data is None else "data",
        examples=len(next(iter(checked.values()))),
        remarks=tuple(remarks),
        ports=(*taken, *given),
        tensors=weights(dense.content, packed.encodings, names),
        **_sizes(packed, device),
    )
    return packed, report


def _sizes(packed: Packed, device: Target) -> dict:
    """The sizes and measurements of both files; of one where they are the same, to save time."""
    gzip, measured = gzip_bytes(packed.content), device.measure(packed.content, device.options)
    dense_gzip, dense_measured, dense = gzip, measured, packed.dense or packed.content
    if dense != packed.content:
        dense_gzip = gzip_bytes(dense)
        dense_measured = device.measure(dense, device.options)
    return {
        "bytes": len(packed.content),
        "gzip_bytes": gzip,
        "dense_bytes": len(dense),
        "dense_gzip_bytes": dense_gzip,
        "measured": measured.values,
        "dense_measured": dense_measured.values,
        "missing": measured.missing,
    }


def _fixed_axes(known, dense, inputs, data) -> list[str]:
    """With a fixed batch every axis is fixed: by the data, never by our random inputs."""
    fixed = [
        name for name, shape in zip(known.names, known.shapes, strict=True) if None in shape[1:]
    ]
    if not fixed or dense.batch == "dynamic":
        return []
    if data is None:
        raise ValueError(
            f"input {fixed[0]!r} has an open axis that the file cannot keep open; pass data= of "
            "the length to be used"
        )
    return [f"open axes were fixed: {name} takes {inputs[name].shape[1:]}" for name in fixed]


def _compare(
    content: bytes, batch: str, context: ExportContext, expected, device: Target
) -> Comparison:
    if context.quantize == "none":
        return check_float(content, context.inputs, expected=expected, batch=batch, run=device.run)
    return check_quantized(content, context.inputs, expected=expected, run=device.run)


def _packed(content: bytes, device: Target, context: ExportContext) -> Packed:
    """The device's file; the dense one instead where the encoded one computes something else."""
    packed = device.pack(content, context)
    dense = content if packed.dense is None else packed.dense
    if len(packed.content) > len(dense):
        raise AssertionError(f"packing for {device.name} made the file larger")
    if not packed.encodings:
        return replace(packed, dense=dense)
    fault = same(dense, packed.content, context.inputs, run=device.run)
    if fault:
        return Packed(dense, {}, (f"sparse encoding not used: {fault}",), dense)
    return Packed(packed.content, packed.encodings, packed.remarks, dense)
