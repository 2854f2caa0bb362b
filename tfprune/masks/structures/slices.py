# SPDX-License-Identifier: Apache-2.0
"""Groups that extend along whole axes of a kernel."""

from dataclasses import dataclass

from tfprune.masks.kernel_layout import View
from tfprune.masks.serialization import register
from tfprune.masks.structures.base import Pooled


@register
@dataclass(frozen=True)
class Kernel(Pooled):
    """One spatial kernel: all positions of one (input, output) pair.

    Kernels without spatial axes (Dense) have one entry per pair: the same as `Element`.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.
        balanced: Keep equally many kernels in every filter: what the allocation gives the layer,
            divided by its filters and rounded, one at least.

    >>> from tfprune.masks.kernel_layout import conv
    >>> Kernel().groups((3, 3, 16, 32), conv(2))
    512
    """

    balanced: bool = False

    def _view(self, shape, layout):
        return View.along(layout.spatial, shape, layout)


@register
@dataclass(frozen=True)
class Column(Pooled):
    """One column of TFLite's matrix: an (input, position) pair, for all output channels.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.

    >>> from tfprune.masks.kernel_layout import conv
    >>> Column().groups((3, 3, 16, 32), conv(2))
    144
    """

    def _view(self, shape, layout):
        return View.along(layout.outputs, shape, layout)

    def _lacks(self, layout):
        return None if layout.columns else "it has neither input channels nor positions"


@register
@dataclass(frozen=True)
class Channel(Pooled):
    """One input channel, for all positions and output channels.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.

    >>> from tfprune.masks.kernel_layout import conv
    >>> Channel().groups((3, 3, 16, 32), conv(2))
    16
    """

    def _view(self, shape, layout):
        members = tuple(axis for axis in range(layout.rank) if axis not in layout.inputs)
        return View.along(members, shape, layout)

    def _lacks(self, layout):
        return None if layout.inputs else "it has no input channels"


@register
@dataclass(frozen=True)
class Filter(Pooled):
    """One output channel: a row of TFLite's matrix; of an Embedding, the vector of one token.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.
        coupled: Choose filters whose outputs are added, or passed on by a depthwise convolution,
            as one, so that whole channels can be removed. All that belongs to a masked channel is
            zero with it: biases, gammas, betas, means, recurrent weights. Where a method lets
            channels return (`dpf`, `st3`, ...), that waits for its last masks. Needs a model with
            a graph.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> Filter("sum").reduce(np.array([[1.0, 5.0], [2.0, 6.0]]), DENSE)
    array([ 3., 11.])
    """

    coupled: bool = False

    def _view(self, shape, layout):
        return View.along(layout.columns, shape, layout)

    def _lacks(self, layout):
        return None if layout.outputs else "it has no output channels"
