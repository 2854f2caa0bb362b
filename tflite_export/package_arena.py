# SPDX-License-Identifier: Apache-2.0
"""The arena that a C package reserves, and the comment on it."""

from __future__ import annotations

from dataclasses import dataclass

from tflite_export import cortex_m, micro, npu_plan
from tflite_export.graph import read, used
from tflite_export.vela_files import NPU

__all__ = ["Arena", "reserved_arena"]

_KIB = 1024


@dataclass(frozen=True)
class Arena:
    """Bytes that are reserved: `here` on 64 bits, of which `measured` were measured, and `cortex_m`
    on 32 bits; `told` says where they come from."""

    here: int
    cortex_m: int
    measured: int
    told: str


def reserved_arena(content: bytes) -> Arena:
    """The arena for a file: measured, and derived from that; of Vela's files taken from its plan.

    Raises:
        RuntimeError: TFLite Micro cannot load the file; its message is in the error.
    """
    graph = read(content)
    if NPU in used(graph):
        planned = -(-npu_plan.arena_bytes(graph) // _KIB) * _KIB
        told = ("From the plan that Vela wrote into the file, with room for the interpreter's "
                "tables.")
        if fast := npu_plan.fast_bytes(graph):
            told += f" The accelerator's driver needs {fast} bytes of fast memory beside it."
        return Arena(planned, planned, 0, told)
    measured, cortex = micro.arena_bytes(content), cortex_m.arena_bytes(content)
    here = -(-(measured + measured // 10) // _KIB) * _KIB
    return Arena(here, cortex, measured, (
        f"64 bits: {measured} measured, the least that loads and runs with the reference kernels "
        f"on a computer, and a margin of {here - measured} for other versions of the library "
        f"(10 %, rounded up to 1 KiB). 32 bits: {cortex} derived from that for a Cortex-M, rather "
        "too much than too little: narrower pointers, and the buffers of CMSIS-NN's kernels on "
        "cores with DSP instructions. Other optimised kernels, those for Helium too, may ask for "
        "larger buffers."
    ))
