# SPDX-License-Identifier: Apache-2.0
"""What decoding, and scales for each channel of dense layers, cost of the arena: a sentence with
both numbers where it is much."""

from __future__ import annotations

from tflite_export import micro
from tflite_export.dense_scales import scaled_by_channel, with_one_scale
from tflite_export.graph import read

__all__ = ["arena_remarks", "decoding"]

_ARENA = (
    "arena: the least that loads and runs in TFLite Micro on this computer, of 64 bits; ram_bytes "
    "bounds it. Cortex-M arena: derived from it for 32 bits, with the buffers of CMSIS-NN's kernels"
)
_MUCH = 1.05
# Bytes that each channel costs: scale and zero point of weight and bias in the file; multiplier and
# shift in the arena, and a zero point while it is loaded.
_IN_FILE, _IN_ARENA = 24, 16


def arena_remarks(content: bytes, dense: bytes, *, bounded: bool) -> tuple[str, ...]:
    """What the sizes of the arena in a report are, and what makes them larger.

    Args:
        content: the file, which TFLite Micro executes.
        dense: the same without bitmaps.
        bounded: a largest arena was given, so what decoding takes of it is as asked.
    """
    before = micro.arena_bytes(dense)
    decoded = [] if bounded else decoding(before, micro.arena_bytes(content))
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
            arena, arena - _IN_ARENA * channels):
        return []
    other = with_one_scale(content)
    try:
        less = micro.arena_bytes(other)
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
