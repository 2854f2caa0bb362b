"""Phones: LiteRT with XNNPACK. Weights are encoded sparsely where that is smaller and safe."""

from __future__ import annotations

from tflite_export.device import Case, Measured, Packed, Quantity, Target
from tflite_export.encode import encode
from tflite_export.graph import Graph
from tflite_export.remarks import NO_FASTER_INT8, NO_FASTER_ZEROS
from tflite_export.runtime import predict
from tflite_export.sparse_inference import RUNS_SPARSE
from tflite_export.xnnpack import verdict

__all__ = ["MOBILE", "measure", "pack"]

_SLOW_INT16 = (
    "XNNPACK has no kernels for 16-bit activations: on a phone expect int16x8 to be slower than "
    "float32"
)


def pack(dense: bytes, case: Case) -> Packed:
    """Encode the weights of a dense file as LiteRT reads them, where the file gets smaller.

    Args:
        dense: the converted file.
        case: its number format, and the names of its weights.
    """
    remarks = ["sparse encoding not used: sparse=False"]
    packed = Packed(dense, {})
    if case.sparse:
        judged = verdict(Graph(dense))
        packed = encode(dense, case.quantize, names=case.names, judged=judged)
        remarks = list(packed.remarks)
        if judged.state == "engages" and "csr" in packed.encodings.values():
            remarks.append(RUNS_SPARSE)
    if case.quantize == "int16x8":
        remarks.append(_SLOW_INT16)
    if case.quantize in ("int8", "int16x8"):
        remarks.append(NO_FASTER_INT8)
    elif not packed.encodings:
        remarks.append(NO_FASTER_ZEROS)
    return Packed(packed.content, packed.encodings, tuple(remarks))


def measure(content: bytes, options=None) -> Measured:
    """The size of a file: times belong to the phone, not to the computer this runs on.

    Example:
        >>> measure(b"abc").to_dict()
        {'file': (3, 'bytes')}
    """
    return Measured((Quantity("file", len(content), "bytes"),))


MOBILE = Target(
    name="mobile", runtime="LiteRT with XNNPACK", dynamic_batch=True,
    quantize=("none", "float16", "dynamic", "int8", "int16x8"),
    pack=pack, run=predict, measure=measure,
)
