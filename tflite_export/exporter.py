"""`export`: strip, convert, check, encode, verify, and only then write."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from tflite_export import zeros
from tflite_export.convert import CALIBRATED, convert, forward
from tflite_export.encode import Encoded, encode
from tflite_export.files import reserved
from tflite_export.graph import Graph
from tflite_export.inputs import examples, random_examples
from tflite_export.keras_models import family, signature
from tflite_export.remarks import gzip_bytes, not_gained
from tflite_export.report import ExportReport, TensorReport
from tflite_export.targets import Target, target as find_target
from tflite_export.tracing import in_float32
from tflite_export.verify import Comparison, check_float, check_quantised, reference, same

__all__ = ["export"]

_EXAMPLES, _RANDOM_EXAMPLES = 1000, 64


def export(
    model, path: str | os.PathLike, *, target: str = "mobile", quantize: str = "none",
    sparse: str | bool = "auto", data=None,
) -> ExportReport:
    """Write a Keras model as a verified .tflite file and report what was gained.

    The model is stripped of pruning wrappers, converted, compared with Keras in the LiteRT
    interpreter, and written to a temporary file that replaces `path` only when all is well.

    Args:
        model: a built Keras 3 or tf_keras model, wrapped for pruning or plain.
        path: the file to write, in an existing folder.
        target: "mobile" (LiteRT, XNNPACK), "micro" (TFLite Micro) or "ethos-u" (Vela).
        quantize: "none" (float32), "float16", "dynamic" (int8 weights), "int8" (weights and
            activations; inputs and outputs stay float32 on mobile and are int8 on the others) or
            "int16x8" (int16 activations, int8 weights).
        sparse: "auto" = sparse-encode the weights where the file gets smaller and runtimes
            execute it correctly; False = never; True = as "auto", but an error if nothing could
            be encoded.
        data: examples to verify with and to calibrate int8: an array, a list, tuple or dict of
            arrays for several inputs, or a tf.data.Dataset with or without labels. At most 1,000
            examples are used. Without data: 64 seeded random ones.
    Returns:
        `ExportReport`: bytes, zeros per weight, error, agreement, and remarks on what was not
        gained.
    Raises:
        ValueError: an unknown or impossible option, unbuilt model, missing or misshapen data,
            or `sparse=True` when no sparse encoding is possible.
        TypeError: not a Keras model.
        OSError: `path` cannot be written.
        RuntimeError: the converter refused the model, a zero was lost, or the float32 file
            deviates from Keras by more than 1e-4. The old file at `path`, if any, is kept.

    Example:
        >>> import keras, tempfile
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = export(model, f"{folder}/model.tflite")
        >>> report.batch, report.inputs, report.error < 1e-4
        ('dynamic', 'seeded random', True)
    """
    device = find_target(target, quantize)
    family(model)
    _check_options(device, quantize, sparse, data)
    with reserved(path) as place:
        import tfprune

        plain = tfprune.strip_pruning(model)
        with in_float32(plain) as was_mixed:
            found = _verified(plain, device, quantize=quantize, sparse=sparse, data=data)
        remarks = list(found.remarks)
        if was_mixed:
            remarks.append("the mixed precision model was exported with float32 computation")
        report = ExportReport(
            path=os.fspath(path), target=target, quantize=quantize, batch=found.batch,
            bytes=len(found.content), gzip_bytes=found.gzip,
            dense_bytes=len(found.dense), dense_gzip_bytes=found.dense_gzip,
            error=found.comparison.error, agreement=found.comparison.agreement,
            inputs="seeded random" if data is None else "data", examples=found.examples,
            tensors=found.tensors, remarks=tuple(remarks),
        )
        place.commit(found.content)
    return report


@dataclass(frozen=True)
class _Verified:
    content: bytes
    dense: bytes
    gzip: int
    dense_gzip: int
    batch: str
    comparison: Comparison
    examples: int
    tensors: tuple[TensorReport, ...]
    remarks: tuple[str, ...]


def _check_options(device: Target, quantize: str, sparse, data) -> None:
    if sparse not in ("auto", True, False):
        raise ValueError(f"unknown sparse={sparse!r}; possible are 'auto', True and False")
    if sparse is True and not device.sparse:
        raise ValueError(
            f"sparse=True is impossible for target {device.name!r}: {device.no_sparse}"
        )
    if quantize in CALIBRATED and data is None:
        raise ValueError(
            f"quantize={quantize!r} needs representative data; pass data= with about 100 to 1,000 "
            "typical inputs (an array, a list or dict of arrays for several inputs, or a "
            "tf.data.Dataset)"
        )


def _verified(plain, device: Target, *, quantize: str, sparse, data) -> _Verified:
    known = signature(plain, data)
    if data is None:
        inputs = random_examples(plain, known, _RANDOM_EXAMPLES)
    else:
        inputs = examples(data, known, _EXAMPLES)
    expected = reference(forward(plain, known), known, inputs)
    dense = convert(plain, known, target=device, quantize=quantize, inputs=inputs)
    names, remarks = zeros.check(plain, dense.content)
    remarks += _fixed_axes(known, dense, inputs, data)
    encoded, refused = _encoded(dense.content, device, quantize, sparse, names, inputs)
    if sparse is True and not encoded.encodings:
        raise ValueError("sparse=True, but no weight was encoded: " + "; ".join(refused))
    comparison = _compare(encoded.content, dense.batch, quantize, inputs, expected)
    # Compressing is the slowest step for large models: each file once.
    dense_gzip = gzip_bytes(dense.content)
    gzip = gzip_bytes(encoded.content) if encoded.encodings else dense_gzip
    remarks += refused + not_gained(device, quantize, dense, encoded)
    if encoded.encodings and gzip >= dense_gzip:
        remarks.append(
            "compressed with gzip, the sparse-encoded file is not smaller than the dense one"
        )
    if data is None:
        remarks.append(
            "verified on seeded random inputs only; pass data= for agreement on real ones"
        )
    if all(np.all(y == y[:1]) for y in expected.values()):
        remarks.append(
            "the model gave the same output for every example, so the comparison proves little"
        )
    return _Verified(
        encoded.content, dense.content, gzip, dense_gzip, dense.batch, comparison,
        len(next(iter(inputs.values()))), _tensors(dense.content, encoded.encodings, names),
        tuple(remarks),
    )


def _fixed_axes(known, dense, inputs, data) -> list[str]:
    """With a fixed batch every axis is fixed: by the data, never by our random inputs."""
    fixed = [name for name, shape in zip(known.names, known.shapes) if None in shape[1:]]
    if not fixed or dense.batch == "dynamic":
        return []
    if data is None:
        raise ValueError(
            f"input {fixed[0]!r} has an open axis that the file cannot keep open; pass data= of "
            "the length to be used"
        )
    return [f"open axes were fixed: {name} takes {inputs[name].shape[1:]}" for name in fixed]


def _compare(content: bytes, batch: str, quantize: str, inputs, expected) -> Comparison:
    if quantize == "none":
        return check_float(content, batch, inputs, expected)
    return check_quantised(content, inputs, expected)


def _encoded(content, device, quantize, sparse, names, inputs) -> tuple[Encoded, list[str]]:
    dense = Encoded(content, {}, ())
    if sparse is False:
        return dense, ["sparse encoding not used: sparse=False"]
    if not device.sparse:
        return dense, [device.no_sparse]
    encoded = encode(content, quantize, names)
    if not encoded.encodings:
        return dense, list(encoded.remarks)
    fault = same(content, encoded.content, inputs)
    if fault:
        return dense, [f"sparse encoding not used: {fault}"]
    return encoded, list(encoded.remarks)


def _tensors(dense: bytes, encodings: dict, names: dict) -> tuple[TensorReport, ...]:
    graph = Graph(dense)
    constants = graph.constants()
    return tuple(
        TensorReport(
            name, constants[at].shape, constants[at].dtype.name,
            int(np.count_nonzero(graph.dequantised(*at, constants[at]) == 0)), constants[at].size,
            encodings.get(at, "dense"),
        )
        for at, name in names.items()
    )
