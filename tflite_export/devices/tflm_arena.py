# SPDX-License-Identifier: Apache-2.0
"""The arena of a microcontroller's file: weights that are decoded within a budget, and remarks on
what makes it larger."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from tflite_export.flatbuffer.aligned_buffers import aligned
from tflite_export.flatbuffer.graph import Graph, read, schema
from tflite_export.runtime import tflm_interpreter
from tflite_export.sparsity.tflm_decode import Candidate

__all__ = ["arena_remarks", "choose", "decoding", "scaled_by_channel", "with_one_scale"]

Place = tuple[int, int]

_ARENA = (
    "arena: the least that loads and runs in TFLite Micro on this computer, of 64 bits; ram_bytes "
    "bounds it. Cortex-M arena: derived from it for 32 bits, with the buffers of CMSIS-NN's kernels"
)
_MUCH = 1.05
# Bytes that each channel costs: scale and zero point of weight and bias in the file; multiplier and
# shift in the arena, and a zero point while it is loaded.
_IN_FILE, _IN_ARENA = 24, 16


def scaled_by_channel(graph: Graph) -> list[tuple[int, int]]:
    """(subgraph, tensor) of the weights of dense layers with more than one scale."""
    dense = schema().BuiltinOperator.FULLY_CONNECTED
    weights = [
        (number, int(operator.inputs[1]))
        for number, operator in graph.all_operators()
        if graph.code(operator) == dense
    ]
    return [at for at in weights if len(graph.scales(*at)) > 1]


def with_one_scale(content: bytes) -> bytes:
    """A file of the size that one scale for each dense layer would give; what it computes is
    wrong."""
    graph = Graph(content)
    for number, index in scaled_by_channel(graph):
        readers = [operator for operator, _ in graph.readers(index, number)]
        biases = [int(operator.inputs[2]) for operator in readers if len(operator.inputs) > 2]
        for used in {index, *biases} - {-1}:
            table = graph.tensor(number, used).quantization
            table.scale = np.array([max(table.scale)], np.float32)
            table.zeroPoint = np.array(table.zeroPoint[:1])
    return aligned(graph)


def choose(
    candidates: dict[Place, Candidate], ram_bytes: int, arena: Callable[[Collection[Place]], int]
) -> tuple[Place, ...]:
    """The weights whose decoding saves the most bytes of the file while the arena fits.

    A decoded weight lives for one operator, so weights hardly share RAM: each alone has a need,
    the largest need counts, and every weight adds some bytes of tables. For each possible largest
    need the best weights are therefore those that save most, as many as the tables' bytes allow.
    The arena of the best choice is measured again, and what still fits is added.

    Args:
        candidates: the weights that can be decoded.
        ram_bytes: the largest arena allowed.
        arena: measures the arena in bytes when these weights are decoded, and no others.
    Returns:
        The chosen places, those that save most first.
    Raises:
        ValueError: the arena is too large without any decoded weight; the least is in the message.

    Example:
        >>> weights = {(0, n): Candidate(None, 10 * n, 100 * n) for n in (1, 2, 3)}
        >>> choose(weights, 350, lambda chosen: 100 + max([100 * n for _, n in chosen], default=0))
        ((0, 2), (0, 1))
    """
    least = arena(())
    if least > ram_bytes:
        raise ValueError(
            f"ram_bytes={ram_bytes:,} is too small: the model takes an arena of {least:,} bytes "
            "even with every weight dense; allow that many, or make activations smaller (fewer "
            "channels, smaller inputs)"
        )
    ordered = sorted(candidates, key=lambda place: -candidates[place].saved)
    if not ordered or arena(ordered) <= ram_bytes:
        return tuple(ordered)
    alone = {place: arena((place,)) for place in ordered}
    # The cheapest weight of all shows what the tables of one take.
    tables = min(alone.values()) - least
    best: list[Place] = []
    for most in sorted({need for need in alone.values() if need <= ram_bytes}):
        count = 1 + ((ram_bytes - most) // tables if tables > 0 else len(ordered))
        fitting = [place for place in ordered if alone[place] <= most][:count]
        if _saved(candidates, fitting) > _saved(candidates, best):
            best = fitting
    while best and arena(best) > ram_bytes:
        best.remove(max(best, key=alone.__getitem__))
    for place in ordered:
        if place not in best and alone[place] <= ram_bytes:
            if arena((*best, place)) <= ram_bytes:
                best.append(place)
    return tuple(sorted(best, key=ordered.index))


def _saved(candidates: dict[Place, Candidate], chosen: list[Place]) -> int:
    return sum(candidates[place].saved for place in chosen)


def arena_remarks(content: bytes, dense: bytes, *, bounded: bool) -> tuple[str, ...]:
    """Sentences on the sizes of the arena in a report, and on what makes them larger.

    Args:
        content: the file, which TFLite Micro executes.
        dense: the same without bitmaps.
        bounded: a largest arena was given, so what decoding takes of it is as asked.
    """
    before = tflm_interpreter.arena_bytes(dense)
    decoded = [] if bounded else decoding(before, tflm_interpreter.arena_bytes(content))
    return (_ARENA, *decoded, *_by_channel(dense, before))


def decoding(before: int, after: int) -> list[str]:
    """The remark on an arena that decoding makes larger.

    Args:
        before, after: bytes of the arena with every weight dense, and as the file is.

    Example:
        >>> decoding(1000, 1050), len(decoding(1000, 1060))
        ([], 1)
    """
    if not _much(after, before):
        return []
    return [
        f"decoding takes an arena of {after:,} bytes, where the dense file takes {before:,}: with "
        f'target("tflm", ram_bytes={before}) it stays as it was, and only what fits is decoded'
    ]


def _by_channel(content: bytes, arena: int) -> list[str]:
    """The remark on dense layers that have a scale for each channel.

    Args:
        content: a file without bitmaps.
        arena: the bytes it takes.
    """
    graph = read(content)
    channels = sum(len(graph.scales(*at)) for at in scaled_by_channel(graph))
    if not _much(len(content), len(content) - _IN_FILE * channels) and not _much(
        arena, arena - _IN_ARENA * channels
    ):
        return []
    other = with_one_scale(content)
    try:
        less = tflm_interpreter.arena_bytes(other)
    except RuntimeError:
        return []  # its numbers are no model's, and may be such as no kernel takes
    if not _much(len(content), len(other)) and not _much(arena, less):
        return []
    return [
        f"dense layers have a scale for each channel: without bitmaps {len(content):,} bytes and "
        f"an arena of {arena:,}. With one for each layer it would be about {len(other):,} and "
        f'{less:,}, usually at a larger error: target("tflm", dense_per_channel=False)'
    ]


def _much(larger: int, smaller: int) -> bool:
    return larger > _MUCH * smaller
