# SPDX-License-Identifier: Apache-2.0
"""The order of a file's inputs and outputs: the Keras model's, not the converter's."""

from __future__ import annotations

from tflite_export.graph import Graph, read, text

__all__ = ["in_order"]


def in_order(content: bytes, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """A file whose inputs and outputs lie at the positions that are asked for.

    Converters sort them as they please; TFLite Micro, C and most programs ask for them by position.

    Args:
        content: bytes of a .tflite file with a signature.
        inputs, outputs: their names in the signature, in the order to be.
    Returns:
        The file; the argument itself if its order is that already.
    Raises:
        RuntimeError: the file has others.
    """
    if _sides(read(content), inputs, outputs) is None:
        return content
    graph = Graph(content)
    for side, found in _sides(graph, inputs, outputs).items():
        setattr(graph.model.signatureDefs[0], side, found)
        setattr(graph.model.subgraphs[0], side, [entry.tensorIndex for entry in found])
    return graph.content()


def _sides(graph: Graph, inputs, outputs) -> dict[str, list] | None:
    """The entries of the signature in order; None where the file's tensors lie so."""
    found, right = {}, True
    for side, names in (("inputs", inputs), ("outputs", outputs)):
        entries = {text(e.name): e for e in getattr(graph.model.signatureDefs[0], side)}
        if entries.keys() != set(names):
            raise RuntimeError(f"the file has {side} {sorted(entries)}, expected {sorted(names)}")
        found[side] = [entries[name] for name in names]
        lie = [int(index) for index in getattr(graph.model.subgraphs[0], side)]
        right &= lie == [entry.tensorIndex for entry in found[side]]
    return None if right else found
