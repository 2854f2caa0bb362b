# SPDX-License-Identifier: Apache-2.0
"""How layers hold prunable kernels, how often each weight is used, and why a layer stays dense."""

from __future__ import annotations

from math import prod
from typing import Any, Sequence

from tfprune.layers.base import Uses, kind_of
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout

Shape = Sequence[int | None]


def matrix_layout(layer: Any) -> Layout:
    """The layout of a layer's kernels of rank 2: as Dense, but for an Embedding's table."""
    is_table = any(one.uses is Uses.LOOKUP for one in kind_of(layer).kernels)
    return kernel_layout.EMBEDDING if is_table else kernel_layout.DENSE


def reason_dense(layer: Any) -> str:
    """Why a layer that has weights, but no row, stays dense."""
    return kind_of(layer).stays_dense or (
        f"unknown layer {type(layer).__name__}: give it a method get_prunable_weights() that "
        "returns the variables to prune"
    )


def positions(
    uses: Uses, inputs: Shape | None, outputs: Shape | None, layout: Layout
) -> int | None:
    """How often each weight is used for one example; None where shapes do not tell.

    Args:
        uses: of the kernel.
        inputs, outputs: shapes of the layer's input and output, batch axis first.
        layout: of the kernel; the spatial axes tell a convolution from a matrix.
    """
    if uses is Uses.LOOKUP:
        return 0
    if inputs is None or outputs is None:
        return None
    if uses is Uses.STEPS:
        # A recurrent convolution is used at every place of every time step.
        space = outputs[-1 - len(layout.spatial) : -1] if layout.spatial else ()
        places: Shape = (*inputs[1:2], *space)
    else:
        shape = outputs if uses is Uses.OUTPUT else inputs
        places = shape[1:-1]
    known = [size for size in places if size is not None]
    return prod(known) if len(known) == len(places) else None
