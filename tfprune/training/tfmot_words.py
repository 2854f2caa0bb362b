# SPDX-License-Identifier: Apache-2.0
"""TF-MOT's settings in this library's words."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout
from tfprune.masks.schedules import OneShot
from tfprune.masks.sites import Site
from tfprune.masks.structures import Block, Element, NofM, Structure
from tfprune.methods import Method, get_method

_POOLINGS = {"AVG": "mean", "MAX": "max"}


def structure_of_tfmot(
    block_size: Any,
    block_pooling_type: str,
    sparsity_m_by_n: Any,
    *,
    layout: Layout = kernel_layout.DENSE,
) -> Structure:
    """TF-MOT's block and m-by-n arguments as a structure.

    Args:
        block_size: (height, width) on the Keras kernel.
        block_pooling_type: "AVG" or "MAX".
        sparsity_m_by_n: (m, n) = m ZEROS in every n consecutive weights; None: not wanted.
        layout: of the kernel, which says how it lies in TFLite's matrix.

    Raises:
        ValueError: another pooling; m not below n.

    Example:
        >>> structure_of_tfmot((1, 1), "AVG", (1, 4))
        NofM(n=3, m=4)
    """
    if sparsity_m_by_n:
        zeros, group = sparsity_m_by_n
        return NofM(group - zeros, group)
    if tuple(block_size) == (1, 1):
        return Element()
    if block_pooling_type not in _POOLINGS:
        raise ValueError(
            f"Unsupported pooling type '{block_pooling_type}'. Should be 'AVG' or 'MAX'."
        )
    return Block.of_kernel(block_size, layout, _POOLINGS[block_pooling_type])


def method_of_tfmot(
    pruning_schedule: Any,
    block_size: Any,
    block_pooling_type: str,
    sparsity_m_by_n: Any,
    *,
    layout: Layout = kernel_layout.DENSE,
) -> Method:
    """The method that TF-MOT's arguments describe: magnitude, per layer.

    With `sparsity_m_by_n` TF-MOT chooses the mask once, at step 1, whatever the schedule says.
    """
    structure = structure_of_tfmot(block_size, block_pooling_type, sparsity_m_by_n, layout=layout)
    if isinstance(structure, NofM):
        pruning_schedule = OneShot(1 - structure.n / structure.m, at=1)
    return get_method("magnitude", structure=structure, schedule=pruning_schedule)


def site_of_tfmot(site: Site, wrapper: Any) -> Site:
    """The site with the axes along which TF-MOT looks for its m zeros in n.

    TF-MOT reads every kernel of rank 2 as Dense, every kernel of rank 4 as Conv2D.
    """
    layout = {2: kernel_layout.DENSE, 4: kernel_layout.conv(2)}.get(len(site.shape))
    if not wrapper.sparsity_m_by_n or layout is None:
        return site
    return dataclasses.replace(site, layout=layout)
