"""Why something was not gained: one sentence each, for the report."""

from __future__ import annotations

import gzip

import numpy as np

from tflite_export.convert import CALIBRATED, Converted
from tflite_export.encode import Encoded
from tflite_export.graph import Graph
from tflite_export.targets import Target

__all__ = ["gzip_bytes", "not_gained"]


def not_gained(device: Target, quantize: str, dense: Converted, encoded: Encoded) -> list[str]:
    """Sentences on what this file did not gain from its zeros, and what it needs to be used."""
    remarks = []
    if device.dynamic_batch and dense.batch == "1":
        remarks.append(
            "the batch is fixed at 1: the converter cannot keep it open for this model (usually "
            "because of recurrent layers)"
        )
    if dense.unrolled:
        remarks.append(
            "recurrent loops were unrolled, one copy of the operators for each step: the converter "
            "cannot calibrate a loop"
        )
    if any(t.isVariable for g in Graph(dense.content).model.subgraphs for t in g.tensors):
        remarks.append(
            "the file keeps recurrent state between calls: reset its variables before each "
            "sequence (Interpreter.reset_all_variables)"
        )
    if quantize == "int16x8" and device.name == "mobile":
        remarks.append(
            "XNNPACK has no kernels for 16-bit activations: on a phone expect int16x8 to be slower "
            "than float32"
        )
    if quantize in CALIBRATED:
        if device.name != "ethos-u":
            remarks.append(
                "zeros do not speed up int8 on a CPU: no kernel skips them; they only compress"
            )
        left = [a for a in Graph(dense.content).constants().values() if a.ndim >= 2]
        if any(a.dtype == np.float32 for a in left):
            remarks.append("some weights stayed in float32: their operators have no integer kernel")
    elif not encoded.encodings:
        remarks.append(
            "zeros do not speed up this file: densely encoded, they are multiplied like other "
            "weights"
        )
    return remarks


def gzip_bytes(content: bytes) -> int:
    """Size after gzip at its usual level, as the file would be downloaded."""
    return len(gzip.compress(content, compresslevel=6, mtime=0))
