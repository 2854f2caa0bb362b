"""Microcontrollers: TFLite Micro."""

from __future__ import annotations

from tflite_export.device import Case, Measured, Packed, Quantity, Target
from tflite_export.remarks import NO_FASTER_INT8, NO_FASTER_ZEROS
from tflite_export.runtime import predict

__all__ = ["TFLM", "measure", "pack"]

# TFLite Micro parses no sparsity parameters: DENSIFY has no kernel there, and a sparse
# FULLY_CONNECTED would run on garbage without an error.
_NO_SPARSE = (
    "TFLite Micro reads no sparse encoding: zeros take a byte and a multiplication like any "
    "other weight"
)


def pack(dense: bytes, case: Case) -> Packed:
    """The dense file, and why its zeros gain nothing."""
    faster = NO_FASTER_ZEROS if case.quantize == "none" else NO_FASTER_INT8
    return Packed(dense, {}, (_NO_SPARSE, faster))


def measure(content: bytes, options=None) -> Measured:
    """The size of a file.

    Example:
        >>> measure(b"abc").to_dict()
        {'file': (3, 'bytes')}
    """
    return Measured((Quantity("file", len(content), "bytes"),))


TFLM = Target(
    name="tflm", runtime="TFLite Micro", quantize=("none", "int8", "int16x8"),
    integer_io=True, no_sparse=_NO_SPARSE, pack=pack, run=predict, measure=measure,
)
