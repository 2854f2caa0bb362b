# SPDX-License-Identifier: Apache-2.0
"""The operators that LiteRT has."""

from __future__ import annotations

from tflite_export.graph import Graph, used

__all__ = ["unknown"]

_CUSTOM = frozenset({
    "AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess",
    "odml.scaled_dot_product_attention",
})
# Of the schema's own it has all others.
_LACKING = frozenset({"CALL", "CONCAT_EMBEDDINGS", "DELEGATE"})
_STABLEHLO = frozenset(f"STABLEHLO_{name}" for name in (
    "ADD", "AND", "CASE", "COMPOSITE", "GATHER", "MAXIMUM", "MINIMUM", "MULTIPLY", "PAD",
    "REDUCE_WINDOW", "RNG_BIT_GENERATOR", "SCATTER", "SHIFT_LEFT",
))


def unknown(graph: Graph) -> tuple[str, ...]:
    """Names of the operators of a file that LiteRT's package does not have."""
    custom = {
        graph.custom_name(operator)
        for number in range(len(graph.model.subgraphs)) for operator in graph.operators(number)
    }
    return tuple(
        name for name in used(graph)
        if name in _LACKING or (name in custom and name not in _CUSTOM)
        or (name.startswith("STABLEHLO_") and name not in _STABLEHLO)
    )
