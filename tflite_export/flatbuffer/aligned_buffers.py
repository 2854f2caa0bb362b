# SPDX-License-Identifier: Apache-2.0
"""The bytes of a file whose buffers a microcontroller can read in place."""

from __future__ import annotations

import flatbuffers

from tflite_export.flatbuffer.graph import Graph

__all__ = ["ALIGNMENT", "aligned"]

ALIGNMENT = 16


class _AlignedBuilder(flatbuffers.Builder):
    # The schema demands 16 bytes for the data of every buffer; the code that is generated from it
    # for Python leaves arrays of bytes at multiples of 4.
    def StartVector(self, elemSize, numElems, alignment):
        return super().StartVector(elemSize, numElems, ALIGNMENT if elemSize == 1 else alignment)


def aligned(graph: Graph) -> bytes:
    """The file, the data of every buffer at a multiple of 16 bytes from its beginning."""
    builder = _AlignedBuilder(1 << 16)
    builder.Finish(graph.model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
