# SPDX-License-Identifier: Apache-2.0
"""Phones, by XNNPACK's sparse inference: zeros of 1x1 convolutions are skipped, in float."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

from tflite_export.devices.litert_latency import Timing, measure, told
from tflite_export.devices.target import ExportContext, FileSummary, Target
from tflite_export.flatbuffer.graph import read
from tflite_export.report.measurements import Compatibility, Packed
from tflite_export.report.messages import NO_FASTER_ZEROS
from tflite_export.runtime.litert import predict
from tflite_export.sparsity.encode import encode
from tflite_export.sparsity.xnnpack.verdict import verdict

__all__ = ["RUNS_SPARSE", "SPARSE_F32", "judge", "pack", "runs_here", "what_runs"]

RUNS_SPARSE = (
    "on Arm, XNNPACK skips the zeros of the 1x1 convolutions (sparse inference); on x86 with AVX "
    "it does not, so no gain in time can be measured there"
)
_NOT_VERIFIED = (
    "the sparse kernels were not verified: this computer's XNNPACK has sparse inference switched "
    "off, so the file was verified with dense kernels, and the sparse ones by the rules only"
)


def pack(dense: bytes, context: ExportContext) -> Packed:
    """Encode a file so that XNNPACK's sparse inference runs, where the rules say it is right.

    Args:
        dense: the converted file.
        context: its number format, and the names of its weights.
    Returns:
        The encoded file; the dense one, with the reason, where sparse inference would not run.
    Raises:
        ValueError: on Arm the encoded file would return wrong values; the message names the
            operator.
    """
    packed = _encoded(dense, context)
    return replace(packed, remarks=(*packed.remarks, *told(context.options)))


def _encoded(dense: bytes, context: ExportContext) -> Packed:
    if not context.sparse:
        return Packed(dense, {}, ("sparse encoding not used: sparse=False", NO_FASTER_ZEROS))
    judged = verdict(read(dense))
    if judged.state == "unsafe":
        raise ValueError(
            f"{judged.fault}, without an error; change the model (tflite_export.advise(model) "
            'names the layers), or export it with target="mobile"'
        )
    if judged.state == "off":
        return Packed(dense, {}, (f"sparse inference does not run: {judged}", NO_FASTER_ZEROS))
    packed = encode(dense, context.quantize, names=context.names, judged=judged)
    if "csr" not in packed.encodings.values():
        why = "sparse inference does not run: no convolution gets smaller by a sparse encoding"
        return Packed(dense, {}, (why, NO_FASTER_ZEROS))
    remarks = [*packed.remarks, *what_runs(), *filter(None, [judged.caution])]
    return Packed(packed.content, packed.encodings, tuple(remarks))


def what_runs() -> tuple[str, ...]:
    """Remarks on a file in which sparse inference runs, and on whether it was verified here."""
    return (RUNS_SPARSE,) if runs_here() else (RUNS_SPARSE, _NOT_VERIFIED)


def runs_here(machine: str = "", processor: str = "/proc/cpuinfo") -> bool:
    """Whether XNNPACK would use sparse inference on this computer: not on x86 with AVX.

    Args:
        machine: as `platform.machine()` names it, which is the default.
        processor: a file that lists what the processor can do; without it AVX is assumed.

    Example:
        >>> runs_here("aarch64"), runs_here("AMD64", "missing")
        (True, False)
    """
    if (machine or platform.machine()).lower() not in ("x86_64", "amd64", "i686", "i386"):
        return True
    path = Path(processor)
    return path.exists() and " avx " not in path.read_text(errors="replace")


def judge(found: FileSummary) -> Compatibility:
    """Whether sparse inference runs, and whether it is right."""
    judged = verdict(found.graph)
    if judged.state == "unsafe":
        return Compatibility((judged.fault,))
    if judged.state == "off":
        return Compatibility((f"sparse inference does not run: {judged}",))
    if "csr" not in found.encoded.values():
        return Compatibility(("sparse inference would run if the weights were encoded sparsely",))
    return Compatibility((), (RUNS_SPARSE, *filter(None, [judged.caution])))


SPARSE_F32 = Target(
    name="mobile-sparse-f32",
    runtime="LiteRT with XNNPACK's sparse inference",
    quantize=("none", "float16"),
    pack=pack,
    run=predict,
    measure=measure,
    judge=judge,
    options=Timing(),
)
